// The report of one run: what is inside the models, what each part is worth, what was sent, some answers, and the basis.

const kAblations = [
  ['deployed', 'as deployed'],
  ['rest_of_world_off', 'rest of world off'],
  ['individual_off', 'individual off'],
  ['individual_alone', 'individual alone'],
  ['rest_of_world_alone', 'rest of world alone'],
  ['base', 'base model'],
];

const shortLayer = (name) => name.replace(/^(base_model\.)?(model|transformer)\./, '')
                                 .replace(/^(layers|h)\./, '')
                                 .replace('self_attn.', '')
                                 .replace('self_attention.', '')
                                 .replace('mlp.', '');

/** "rounds 3 to 5: what it sent in round 2 counted instead" */
function missedText(missed) {
  const one = missed.first === missed.last;
  return (one ? 'round ' + missed.first : 'rounds ' + missed.first + ' to ' + missed.last) + ': ' +
      (missed.counted_round > 0 ? 'what it sent in round ' + missed.counted_round + ' counted instead' : 'nothing of it counted');
}

/** Of a site of a federation across machines. */
function addContributions(run) {
  const contributions = asList(run.contributions);
  if (contributions.length === 0) return;
  const section = addSection('Whether the site\'s contribution was used');
  for (const site of contributions) {
    const all = site.counted === site.rounds;
    const text = 'The contribution of ' + site.site + ' was used in ' + site.counted + ' of the ' + site.rounds +
        (site.rounds === 1 ? ' round' : ' rounds') + ' in which it took part' +
        (all ? '.' : '; it came too late or was left out in ' + site.missed.map(missedText).join('; ') + '.');
    section.append(make('p', {}, text));
  }
}

function addMixer(run, sites) {
  const title = 'Mixer: how much each layer listens to its own adapter';
  if (!run.mixer)
    return addAbsent(
        title, 'Left out: this run has no mixer weights per layer (its method has no mixer, or no round was evaluated).');
  const {layers, rounds, of} = run.mixer;
  const section = addSection(
      title,
      'Mean p_I over test tokens: 1 is only the individual adapter, 0 only the rest of world.' +
          (of > rounds.length ? ' Kept are ' + rounds.length + ' of the ' + of + ' evaluated rounds.' : ''));
  const controls = make('div', {className: 'controls'}), box = make('div', {});
  section.append(controls, box);
  const options = [['last', 'every site, round ' + rounds.at(-1)]];
  if (rounds.length > 1) options.push(...sites.map((site) => ['site:' + site.index, site.name + ' over the rounds']));
  const show = (choice) => {
    const index = choice === 'last' ? -1 : Number(choice.slice(5));
    const columns = index < 0 ? sites.map((site) => site.name) : rounds.map((round) => 'round ' + round);
    const lists = index < 0 ? run.mixer.sites.map((list) => list.at(-1)) : run.mixer.sites[index];
    box.replaceChildren();
    const values = layers.map((_, i) => lists.map((weights) => asList(weights)[i] ?? null));
    addHeatMap(box, {
      label: 'Mean p_I per layer',
      corner: 'layer',
      rows: [...layers.map(shortLayer), 'mean'],
      columns,
      values: [...values, columns.map((_, j) => meanOf(values.map((row) => row[j])))],
      text: (value) => value.toFixed(2)
    });
  };
  addSelect(controls, 'Show', options, show);
  show('last');
}

function addInfluence(run, sites) {
  const title = 'Whose knowledge is in the rest of world';
  if (!run.influence) return addAbsent(title, 'Left out: the run did not record it.');
  const section = addSection(
      title,
      'Round ' + run.influence.round +
          '. A row is a site that reads; its cells are the share in percent that each contributor has in ' +
          'what it reads. A row sums to 100.');
  addHeatMap(section, {
    label: 'Share of each contributor',
    corner: 'reader',
    rows: sites.map((site) => site.name),
    columns: run.influence.contributors,
    values: run.influence.shares,
    text: (value) => (100 * value).toFixed(1),
    low: 0
  });
}

function addCrossSite(run) {
  const title = 'Every model on every site';
  if (!run.cross_site) return addAbsent(title, 'Left out: the run has no cross_site.json.');
  const {models, tests, loss, round, examples} = run.cross_site;
  const least =
      tests.map((_, j) => loss.reduce((best, row, i) => (isNumber(row[j]) && (best < 0 || row[j] < loss[best][j]) ? i : best), -1));
  const own = tests.filter((name, j) => least[j] >= 0 && models[least[j]] === name).length;
  const section = addSection(
      title,
      'Test loss' + (isNumber(round) ? ' after round ' + round : '') +
          (isNumber(examples) ? ', ' + examples + ' examples of each site' : '') +
          '. A row is the model of a site, a column the test data of one. On ' + own + ' of ' + tests.length +
          ' sites the site\'s own model is the best.');
  addHeatMap(section, {
    label: 'Loss of each model on each site',
    corner: 'model',
    rows: models,
    columns: tests,
    values: loss,
    text: (value) => value.toFixed(3),
    lowerIsBetter: true,
    own: (i, j) => models[i] === tests[j],
    best: (i, j) => least[j] === i,
    legend: [make('span', {}, 'framed: the site\'s own model'), make('span', {}, '\u2605 best of the column')]
  });
}

function addAblations(run, sites) {
  const title = 'What each part is worth';
  const scores = (final, name) => (name === 'deployed' ? asObject(final) : asObject(asObject(asObject(final).ablations)[name]));
  const kinds = kAblations.filter(([name]) => sites.some((site) => isNumber(scores(site.final, name).loss)));
  if (kinds.length < 2)
    return addAbsent(title, 'Left out: the run was made without ablations, or its method has no parts to take away.');
  const metrics =
      [...new Set([...run.shown, 'loss'])].filter((metric) => kinds.some(([name]) => isNumber(scores(run.mean, name)[metric])));
  const section = addSection(
      title,
      'Round ' + run.evaluated_round +
          ': the deployed model with one thing changed. "Off" drops a term and leaves the mixer as it was computed; ' +
          '"alone" gives a term weight 1, as other programs apply it.');
  const controls = make('div', {className: 'controls'}), box = make('div', {});
  section.append(controls);
  const chart = new ReportChart(section);
  section.append(box);
  const show = (metric) => {
    const text = (value) => scoreText(metric, value);
    showBars(
        chart,
        scoreName(metric) + scoreUnit(metric) + ', mean over sites' + (kLowerIsBetter.has(metric) ? ' (lower is better)' : ''),
        scoreName(metric) + scoreUnit(metric), kinds.map(([, label]) => label),
        [{name: 'mean', values: kinds.map(([name]) => scores(run.mean, name)[metric] ?? null)}], text,
        {horizontal: true, height: 70 + 30 * kinds.length});
    box.replaceChildren();
    addHeatMap(box, {
      label: 'Ablations of each site',
      corner: 'site',
      rows: [...sites.map((site) => site.name), 'mean'],
      columns: kinds.map(([, label]) => label),
      values:
          [...sites.map((site) => site.final), run.mean].map((final) => kinds.map(([name]) => scores(final, name)[metric] ?? null)),
      text,
      lowerIsBetter: kLowerIsBetter.has(metric)
    });
  };
  if (metrics.length > 1) addSelect(controls, 'Score', metrics.map((metric) => [metric, scoreName(metric)]), show);
  show(metrics[0]);
}

function addTraffic(run) {
  const {rounds, total} = run.traffic;
  const title = 'Bytes and time';
  const sent = total.bytes_up + total.bytes_down > 0, trained = total.train_seconds > 0;
  if (!sent && !trained) return addAbsent(title, 'Left out: nothing was sent and nothing was trained.');
  const parts = ['In all, the sites sent ' + bytesText(total.bytes_up) + ' and were sent ' + bytesText(total.bytes_down)];
  if (trained) parts.push('their passes took ' + durationText(total.train_seconds) + ' added up (sites at once overlap)');
  const section = addSection(
      title,
      parts.join('; ') + '. Payload only, 4 bytes a value; sums over the sites of a round.' +
          (run.curves.of > rounds.length ? ' Drawn are ' + rounds.length + ' of the ' + run.curves.of + ' rounds.' : ''));
  const pair = make('div', {className: 'pair'});
  section.append(pair);
  if (sent) {
    showBars(
        new ReportChart(pair), 'Bytes per round', 'bytes', rounds,
        [{name: 'up', values: run.traffic.bytes_up}, {name: 'down', values: run.traffic.bytes_down}], bytesText,
        {stacked: true, labelTitle: 'round'});
  } else {
    pair.append(make('p', {className: 'muted'}, 'No byte was sent: this method has no exchange.'));
  }
  if (trained) {
    showBars(
        new ReportChart(pair), 'Seconds of training per round', 'seconds', rounds,
        [{name: 'training', values: run.traffic.train_seconds}], durationText, {labelTitle: 'round'});
  }
}

function addPredictions(run, sites) {
  const title = 'Some answers';
  if (!run.predictions)
    return addAbsent(title, 'Left out: there are no predictions of the last evaluated round (nothing was generated).');
  const section = addSection(title, 'The first of each site\'s test examples, round ' + run.predictions.round + '.');
  const controls = make('div', {className: 'controls'}), box = make('div', {});
  section.append(controls, box);
  const show = (index) => box.replaceChildren(...asList(run.predictions.sites[index]).map(answerOf));
  addSelect(controls, 'Site', sites.map((site) => [site.index, site.name]), (index) => show(Number(index)));
  show(0);
}

function answerOf(example) {
  const mark = make('span', {className: 'tag ' + (example.exact ? 'good' : 'bad')}, example.exact ? 'exact' : 'differs');
  return make(
      'div', {className: 'answer'},
      make(
          'dl', {}, make('dt', {}, 'instruction'), make('dd', {}, example.instruction), make('dt', {}, 'reference'),
          make('dd', {}, example.reference), make('dt', {}, 'prediction'),
          make('dd', {}, example.prediction === '' ? '(nothing)' : example.prediction, mark)));
}

function addBasis(run) {
  const section = addSection('What this run stands on');
  const [configuration, hashes] = run.config.split(/^hashes:\n/m);
  const fold = (title, content) => section.append(make('details', {}, make('summary', {}, title), content));
  fold('Resolved configuration', make('pre', {tabIndex: 0}, configuration));
  const lines =
      (hashes || '').split('\n').map((line) => line.match(/^ {2}(.*): ([0-9a-f]{64})$/)).filter((match) => match !== null);
  if (lines.length > 0)
    fold(
        'SHA-256 of the model\'s and the data files',
        scrollBox('Hashes', plainTable(['file', 'SHA-256'], lines.map((match) => [match[1], match[2]]))));
  if (run.environment) {
    const rows =
        Object.entries(run.environment)
            .map(([name, value]) => [name.replaceAll('_', ' '), typeof value === 'string' ? value : JSON.stringify(value)]);
    fold('Machine and kernels, on which the same bits depend', scrollBox('Environment', plainTable(['', ''], rows)));
  }
}
