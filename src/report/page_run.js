// The report of one run: head, curves and tables of sites; the other parts are in page_run_parts.js.

const kFewSites = 8;  // as many as the colours tell apart

function showRun(run) {
  const sites =
      run.sites.map((name, index) => ({name, index, final: asObject(run.final[index]), curves: asObject(run.curves.sites[index])}));
  const measured = (metric) => sites.some((site) => isNumber(site.final[metric]));
  run.shown = run.metrics.filter(measured);
  if (run.shown.length === 0 && measured('loss')) run.shown = ['loss'];
  addRunHead(run, sites);
  addCurves(run, sites);
  addSites(run, sites);
  addContributions(run);
  addTags(run, sites);
  addMixer(run, sites);
  addInfluence(run, sites);
  addCrossSite(run);
  addAblations(run, sites);
  addTraffic(run);
  addPredictions(run, sites);
  addBasis(run);
}

/** "5 of 8", or nothing where it was not measured. */
function helpedCount(sites) {
  const known = sites.filter((site) => site.final.helps === 'yes' || site.final.helps === 'no');
  return known.length > 0 ? known.filter((site) => site.final.helps === 'yes').length + ' of ' + known.length : '';
}

function helpedText(sites) {
  const count = helpedCount(sites);
  return count ? 'the others help ' + count + (sites.length === 1 ? ' site.' : ' sites.') :
                 'whether the others help was not measured.';
}

function addRunHead(run, sites) {
  const metric = run.shown[0];
  let result = 'No round was evaluated yet.';
  if (metric) {
    const mean = asObject(run.mean)[metric];
    result = (sites.length > 1 ? 'Mean ' : '') + scoreName(metric) + ' of the ' +
        (sites.length > 1 ? sites.length + ' sites' : 'site') + ': ' +
        scoreText(metric, isNumber(mean) ? mean : meanOf(sites.map((site) => site.final[metric]))) + scoreUnit(metric);
    const worst = sites.find((site) => site.name === run.worst);
    if (worst && sites.length > 1)
      result += '; worst site ' + worst.name + ': ' + scoreText(metric, worst.final[metric]) + scoreUnit(metric);
    result += '; ' + helpedText(sites);
  }
  const state = run.finished ? 'A finished run.' : 'A run that is not finished: this is what it has recorded so far.';
  addHead(
      run.directory || 'run', state,
      [
        ['method', run.method],
        ['preset', run.preset],
        ['model', run.model],
        ['sites', sites.length],
        ['rounds', run.finished || !run.rounds_planned ? run.rounds : run.rounds + ' of ' + run.rounds_planned],
        ['best round by validation', run.best_round],
        ['seed', run.seed],
        ['began', run.date],
        ['time', isNumber(run.seconds) ? durationText(run.seconds) : null],
        ['time in training', isNumber(run.train_seconds) ? durationText(run.train_seconds) : null],
      ],
      result);
}

/** Which sites' curves are drawn for a choice of the select. */
function chosenSites(sites, choice, metric) {
  if (choice === 'all') return sites;
  if (choice === 'mean') return [];
  if (choice.startsWith('site:')) return [sites[Number(choice.slice(5))]];
  const last = (site) => asList(site.curves[metric]).filter(isNumber).at(-1);
  const known = sites.filter((site) => isNumber(last(site))).sort((a, b) => (isBetter(metric, last(a), last(b)) ? -1 : 1));
  return known.length <= 6 ? known : [...known.slice(0, 3), ...known.slice(-3)];
}

function siteOptions(sites) {
  const first = sites.length <= kFewSites ? [['all', 'all sites and the mean']] : [['ends', 'mean, best three, worst three']];
  return [...first, ['mean', 'mean only'], ...sites.map((site) => ['site:' + site.index, site.name])];
}

function addCurves(run, sites) {
  const {rounds, mean} = run.curves;
  const title = 'Learning curves';
  if (rounds.length < 2) return addAbsent(title, 'Left out: there is one round only, and a curve needs two.');
  const has = (field) => [mean, ...sites.map((site) => site.curves)].some((curves) => asList(curves[field]).some(isNumber));
  const metrics =
      [...new Set([
        'train_loss', ...run.shown, 'loss', 'validation_loss', 'rouge1', 'rouge2', 'rougeL', 'exact_match', 'mean_individual_weight'
      ])].filter(has);
  if (metrics.length === 0) return addAbsent(title, 'Left out: this method trains nothing.');
  const dropped = run.curves.of > rounds.length ? ' Drawn are ' + rounds.length + ' of the ' + run.curves.of + ' rounds.' : '';
  const section = addSection(title, 'Per site and round. Test scores are there for evaluated rounds only.' + dropped);
  const controls = make('div', {className: 'controls'});
  section.append(controls);
  const chart = new ReportChart(section);
  const state = {metric: metrics[0], sites: siteOptions(sites)[0][0], model: 'deployed'};
  const update = () => drawCurves(chart, run, sites, state);
  addSelect(controls, 'Curve', metrics.map((metric) => [metric, scoreName(metric)]), (value) => {
    state.metric = value;
    update();
  });
  addSelect(controls, 'Sites', siteOptions(sites), (value) => {
    state.sites = value;
    update();
  });
  if (has('before_swap.loss') && has('after_swap.loss')) {
    const models = [
      ['deployed', 'as deployed'], ['before_swap', 'before the swap'], ['after_swap', 'after the swap'],
      ['both', 'before and (dashed) after the swap']
    ];
    addSelect(controls, 'Model', models, (value) => {
      state.model = value;
      update();
    });
  }
  update();
}

function drawCurves(chart, run, sites, state) {
  const {metric} = state;
  const {rounds} = run.curves;
  const swapped = ['loss', 'rouge1', 'rouge2', 'rougeL', 'exact_match'].includes(metric) ? state.model : 'deployed';
  const kinds = swapped === 'both' ? ['before_swap', 'after_swap'] : [swapped];
  const lines = [];
  for (const kind of kinds) {
    const field = kind === 'deployed' ? metric : kind + '.' + metric;
    const suffix = kinds.length > 1 ? (kind === 'before_swap' ? ', before' : ', after') : '';
    const dash = kind === 'after_swap' && kinds.length > 1 ? [3, 3] : undefined;
    if (sites.length > 1)
      lines.push({name: 'mean' + suffix, values: asList(run.curves.mean[field]), emphasis: true, index: 0, dash});
    for (const site of chosenSites(sites, sites.length > 1 ? state.sites : 'all', metric)) {
      lines.push({name: site.name + suffix, values: asList(site.curves[field]), index: site.index, dash});
    }
  }
  const shown = lines.filter((line) => line.values.some(isNumber));
  if (!shown.some((line) => line.values.filter(isNumber).length > 1)) {
    return chart.say(scoreName(metric) + ' was measured in one round only, so there is no curve; the table below has the values.');
  }
  showLines(
      chart, scoreName(metric) + ' by round' + (kLowerIsBetter.has(metric) ? ' (lower is better)' : ''), metric, rounds, shown);
}

/** Where ROUGE is more than rouge_score. */
function scriptsText(sites) {
  const count = sites.reduce((sum, site) => sum + (isNumber(site.final.rouge_beyond_latin) ? site.final.rouge_beyond_latin : 0), 0);
  return count === 0 ? '' :
                       ' In ' + count + ' test answers ROUGE counts words of other scripts than Latin, which rouge_score drops.';
}

function addSites(run, sites) {
  const section = addSection(
      'Sites',
      'Round ' + run.evaluated_round + '. "Others off" is the same model with its rest-of-world term dropped; a positive gain ' +
          'means that the others help. "Others help" goes by ROUGE-1, and by the loss where that ties. ' +
          'This tells what the term does in the trained model, not what training alone would have reached.' + scriptsText(sites));
  const metrics = ['loss', ...run.shown.filter((metric) => metric !== 'loss')];
  const first = run.shown[0];
  const off = (row) => asObject(asObject(row.final.ablations).rest_of_world_off)[first];
  const gain = (row) => {
    if (!isNumber(off(row)) || !isNumber(row.final[first])) return null;
    return kLowerIsBetter.has(first) ? off(row) - row.final[first] : row.final[first] - off(row);
  };
  const score = (metric) => ({
    title: scoreName(metric) + scoreUnit(metric),
    value: (row) => row.final[metric],
    text: (row) => scoreText(metric, row.final[metric])
  });
  const columns = [
    {title: 'site', value: (row) => row.name, text: (row) => siteLabel(run, row, sites)}, score('train_loss'), ...metrics.map(score)
  ];
  if (first && sites.some((site) => isNumber(off(site)))) {
    columns.push(
        {title: 'others off' + (scoreUnit(first) && ',' + scoreUnit(first)), value: off, text: (row) => scoreText(first, off(row))},
        {
          title: 'gain from others',
          value: gain,
          text: (row) => scoreText(first, gain(row), true),
          className: (row) => signClass(gain(row))
        },
        {title: 'others help', value: (row) => row.final.helps, text: (row) => row.final.helps || '-'});
  }
  columns.push(
      {
        title: 'deployed',
        value: (row) => row.final.deployed,
        text: (row) => String(row.final.deployed || '-').replaceAll('_', ' ')
      },
      {title: 'tokens/s', value: (row) => row.final.tokens_per_s, text: (row) => countText(row.final.tokens_per_s)});
  const mean = {name: 'mean', final: Object.assign({}, asObject(run.mean), {deployed: '', helps: helpedCount(sites)})};
  addSortedTable(section, 'Scores of each site', columns, sites, sites.length > 1 ? mean : null);
}

function signClass(value) {
  if (!isNumber(value) || value === 0) return '';
  return value > 0 ? 'good' : 'bad';
}

function siteLabel(run, row, sites) {
  if (sites.length < 2 || row.name !== run.worst || row.index === undefined) return row.name;
  return make('span', {}, row.name, make('span', {className: 'tag bad'}, 'worst'));
}

/** Scores by tag of the examples, where they carry tags. */
function addTags(run, sites) {
  const tags = [...new Set(sites.flatMap((site) => Object.keys(asObject(site.final.by_tag))))];
  const metric = run.shown[0];
  if (tags.length < 2 || !metric || tags.length > kColumnsAtOnce) return;
  const section = addSection('By tag', scoreName(metric) + scoreUnit(metric) + ' of the test examples with each tag.');
  addHeatMap(section, {
    label: 'Scores by tag',
    corner: 'site',
    columns: tags,
    text: (value) => scoreText(metric, value),
    lowerIsBetter: kLowerIsBetter.has(metric),
    rows: [...sites.map((site) => site.name), 'mean'],
    values: [...sites.map((site) => asObject(site.final.by_tag)), asObject(asObject(run.mean).by_tag)].map(
        (scores) => tags.map((tag) => asObject(scores[tag])[metric] ?? null)),
  });
}
