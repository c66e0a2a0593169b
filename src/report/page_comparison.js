// The report of a comparison of methods.

function showComparison(data) {
  const comparison = data.comparison;
  const metric = comparison.metric;
  if (comparison.higher_is_better === false) kLowerIsBetter.add(metric);
  const rows = comparison.rows.map(
      (row, i) => ({row, name: row.name, links: asList(data.links[i]), mean: asObject(row.mean), worst: asObject(row.worst)}));
  const worth = ({mean}) => (!isNumber(mean.value) ? -Infinity : kLowerIsBetter.has(metric) ? -mean.value : mean.value);
  rows.sort((a, b) => (worth(a) === worth(b) ? 0 : worth(b) - worth(a)));
  addComparisonHead(comparison, metric, rows);
  addRanking(comparison, metric, rows);
  addDifferences(comparison, metric, rows);
  addSitesOfMethods(comparison, metric, rows);
  addMeanCurves(metric, rows);
  addCosts(comparison, metric, rows);
  addRuns(rows);
  addFailures(rows);
  addIntervalLegend(comparison, metric, rows);
}

const seedCount = (comparison) => asList(comparison.seeds).length;
const sideText = (metric, side) => intervalText(metric, side.value, side.low, side.high);

function addComparisonHead(comparison, metric, rows) {
  const best = rows[0];
  if (!isNumber(best.mean.value))
    return addHead('Comparison', scoreName(metric), [['configuration', comparison.config]], 'No method has a result.');
  let result = 'Best mean ' + scoreName(metric) + ': ' + best.name + ' with ' + sideText(metric, best.mean);
  if (isNumber(best.worst.value))
    result +=
        '; its worst site is ' + (best.worst.site || '-') + ' with ' + scoreText(metric, best.worst.value) + scoreUnit(metric);
  const versus = asObject(best.row.versus_reference);
  if (comparison.reference && isNumber(versus.difference)) {
    result += '; ' + scoreText(metric, versus.difference, true) + (kShares.has(metric) ? ' points' : '') + ' against ' +
        comparison.reference + (isNumber(versus.p_holm) ? ' (p ' + pText(versus.p_holm) + ', Holm)' : '');
  }
  addHead(
      'Comparison of ' + rows.length + (rows.length === 1 ? ' method' : ' methods'),
      scoreName(metric) + (kLowerIsBetter.has(metric) ? ', lower is better.' : ', higher is better.'),
      [
        ['sites', asList(comparison.sites).length || null],
        ['seeds', asList(comparison.seeds).join(', ')],
        ['reference', comparison.reference],
        ['configuration', comparison.config],
      ],
      result + '.');
}

const pText = (p) => (!isNumber(p) ? '-' : p < 0.001 ? '< 0.001' : p.toFixed(3));

function addRanking(comparison, metric, rows) {
  const section = addSection(
      'Methods, best first',
      'Mean over sites and the worst site' + (rows.some(({mean}) => isNumber(mean.low)) ? ', with their intervals' : '') +
          '. Other scores come without intervals.');
  const controls = make('div', {className: 'controls'});
  section.append(controls);
  const chart = new ReportChart(section);
  const others = [...new Set(rows.flatMap(({row}) => Object.keys(asObject(row.metrics))))].filter((name) => name !== metric);
  const show = (shown) => {
    const point = (side) => ({x: side.value ?? null, low: side.low, high: side.high});
    const series = shown === metric ?
        [
          {name: 'mean over sites', points: rows.map(({mean}) => point(mean))},
          {name: 'worst site', points: rows.map(({worst}) => point(worst))}
        ] :
        [{name: 'mean over sites', points: rows.map(({row}) => ({x: asObject(row.metrics)[shown] ?? null}))}];
    if (!series[0].points.some((one) => isNumber(one.x))) return chart.say('No method has a value of ' + scoreName(shown) + '.');
    showWhiskers(
        chart, scoreName(shown) + ' of each method' + (kLowerIsBetter.has(shown) ? ' (lower is better)' : ''), shown,
        rows.map(({name}) => name), series);
  };
  if (others.length > 0) addSelect(controls, 'Score', [metric, ...others].map((name) => [name, scoreName(name)]), show);
  show(metric);
  const score = (name) => ({
    title: scoreName(name) + scoreUnit(name),
    value: ({row}) => asObject(row.metrics)[name],
    text: ({row}) => scoreText(name, asObject(row.metrics)[name])
  });
  addSortedTable(
      section, 'Scores of each method',
      [
        {title: 'method', value: ({name}) => name, text: ({name}) => name},
        {title: 'mean ' + scoreName(metric), value: ({mean}) => mean.value, text: ({mean}) => sideText(metric, mean)},
        {
          title: 'worst site',
          value: ({worst}) => worst.value,
          text: ({worst}) => (isNumber(worst.value) ? sideText(metric, worst) + ', ' + (worst.site || '-') : '-')
        },
        ...others.map(score),
        {
          title: 'seeds',
          value: ({row}) => row.seeds_done,
          text: ({row}) => countText(row.seeds_done) + (seedCount(comparison) > 0 ? ' of ' + seedCount(comparison) : '')
        },
      ],
      rows);
}

function addDifferences(comparison, metric, rows) {
  const title = 'Difference to the reference';
  const compared = rows.filter(({row}) => isNumber(asObject(row.versus_reference).difference));
  if (compared.length === 0) return addAbsent(title, 'Left out: no method was compared with a reference.');
  const section = addSection(
      title,
      'Each method minus ' + (comparison.reference || 'the reference') + (kShares.has(metric) ? ', in points' : '') +
          '. p is corrected for the number of methods (Holm).');
  const versus = ({row}) => row.versus_reference;
  showWhiskers(
      new ReportChart(section),
      'Difference in ' + scoreName(metric) + ' (0: as good as the reference' +
          (kLowerIsBetter.has(metric) ? ', below 0: better)' : ', above 0: better)'),
      metric, compared.map(({name}) => name), [{
        name: 'difference',
        points: compared.map((one) => ({x: versus(one).difference, low: versus(one).low, high: versus(one).high}))
      }],
      [0]);
  addSortedTable(
      section, 'Differences to the reference',
      [
        {title: 'method', value: ({name}) => name, text: ({name}) => name},
        {
          title: 'difference',
          value: (one) => versus(one).difference,
          text: (one) => scoreText(metric, versus(one).difference, true),
          className: (one) => differenceClass(metric, versus(one).difference)
        },
        {
          title: 'interval',
          value: (one) => versus(one).low,
          text: (one) =>
              (!isNumber(versus(one).low) ?
                   '-' :
                   scoreText(metric, versus(one).low, true) + ' to ' + scoreText(metric, versus(one).high, true))
        },
        {title: 'p', value: (one) => versus(one).p, text: (one) => pText(versus(one).p)},
        {title: 'p, corrected', value: (one) => versus(one).p_holm, text: (one) => pText(versus(one).p_holm)},
      ],
      compared);
}

const differenceClass = (metric, value) => signClass(kLowerIsBetter.has(metric) && isNumber(value) ? -value : value);

function addSitesOfMethods(comparison, metric, rows) {
  const title = 'Sites and methods';
  const sites =
      [...new Set([...asList(comparison.sites), ...rows.flatMap(({row}) => asList(row.per_site).map((one) => one.site))])];
  const valueOf = sites.map((site) => rows.map(({row}) => asList(row.per_site).find((one) => one.site === site)?.value ?? null));
  if (!valueOf.flat().some(isNumber)) return addAbsent(title, 'Left out: there are no values per site.');
  const section = addSection(title, scoreName(metric) + scoreUnit(metric) + ' of each method at each site.');
  const best = valueOf.map(
      (values) =>
          values.reduce((at, value, j) => (isNumber(value) && (at < 0 || isBetter(metric, value, values[at])) ? j : at), -1));
  addHeatMap(section, {
    label: 'Score of each method at each site',
    corner: 'site',
    rows: sites,
    columns: rows.map(({name}) => name),
    values: valueOf,
    lowerIsBetter: kLowerIsBetter.has(metric),
    text: (value) => scoreText(metric, value),
    best: (i, j) => best[i] === j,
    own: (i, j) => rows[j].worst.site === sites[i],
    legend: [make('span', {}, '\u2605 best method of the site'), make('span', {}, 'framed: worst site of the method')]
  });
}

function addMeanCurves(metric, rows) {
  const title = 'Learning curves of the means';
  const curves = rows.map(({row}) => asList(row.curve).filter((point) => isNumber(asObject(point).round)));
  const rounds = [...new Set(curves.flat().map((point) => point.round))].sort((a, b) => a - b);
  if (rounds.length < 2) return addAbsent(title, 'Left out: no method has more than one round on record.');
  const valuesOf = (curve, field) => {
    const byRound = new Map(curve.map((point) => [point.round, point[field]]));
    return rounds.map((round) => byRound.get(round) ?? null);
  };
  const fields = [['train_loss', 'train_loss'], ['value', metric]].filter(
      ([field]) => curves.some((curve) => curve.filter((point) => isNumber(point[field])).length > 1));
  if (fields.length === 0) return addAbsent(title, 'Left out: nothing was measured in more than one round.');
  const section = addSection(title, 'Mean over sites and seeds. Rounds of different methods need not be the same amount of work.');
  const controls = make('div', {className: 'controls'});
  section.append(controls);
  const chart = new ReportChart(section);
  const show = (field) => {
    const name = fields.find(([known]) => known === field)[1];
    const lines = rows.map((one, index) => ({name: one.name, index, values: valuesOf(curves[index], field)}))
                      .filter((line) => line.values.some(isNumber));
    showLines(chart, scoreName(name) + ' by round' + (kLowerIsBetter.has(name) ? ' (lower is better)' : ''), name, rounds, lines);
  };
  if (fields.length > 1) addSelect(controls, 'Curve', fields.map(([field, name]) => [field, scoreName(name)]), show);
  show(fields[0][0]);
}

function addCosts(comparison, metric, rows) {
  const bytes = ({row}) =>
      (isNumber(row.bytes_up) || isNumber(row.bytes_down) ? (row.bytes_up || 0) + (row.bytes_down || 0) : null);
  const section = addSection('What it costs', 'Payload of all exchanges of a run, up and down.');
  const points = rows.filter((one) => isNumber(bytes(one)) && isNumber(one.mean.value))
                     .map((one) => ({name: one.name, x: bytes(one), y: one.mean.value}));
  if (points.length > 1)
    showPoints(
        new ReportChart(section), 'Mean ' + scoreName(metric) + ' against bytes sent', metric, 'bytes, up and down', bytesText,
        points);
  const number = (title, field, text) => ({title, value: ({row}) => row[field], text: ({row}) => text(row[field])});
  const columns = [
    {title: 'method', value: ({name}) => name, text: ({name}) => name},
    number('bytes up', 'bytes_up', bytesText),
    number('bytes down', 'bytes_down', bytesText),
    number('time', 'seconds', durationText),
    number('time in training', 'train_seconds', durationText),
    number('optimizer steps', 'steps', countText),
    number('trained parameters', 'trained_parameters', countText),
  ];
  if (rows.some(({row}) => typeof row.equal_budget === 'boolean')) {
    columns.push(number(
        'as much training as ' + (comparison.budget_of || 'the reference'), 'equal_budget',
        (equal) =>
            (typeof equal !== 'boolean' ? '-' :
                 equal                  ? 'yes' :
                                          'no')));
  }
  addSortedTable(section, 'Costs of each method', columns, rows);
}

function addRuns(rows) {
  const section = addSection('Runs', 'What each row was made from. A link leads to the run\'s own report.');
  const link = ({run, report}) =>
      (report ? make('a', {href: run.split('/').map(encodeURIComponent).join('/') + '/report.html'}, run) : make('span', {}, run));
  const overrides = (row) => Object.entries(asObject(row.overrides))
                                 .map(([key, value]) => key + '=' + (typeof value === 'string' ? value : JSON.stringify(value)))
                                 .join(' ');
  section.append(scrollBox(
      'Runs of each method',
      make(
          'table', {},
          make(
              'thead', {},
              make(
                  'tr', {},
                  ['row', 'method', 'preset', 'settings', 'runs'].map(
                      (title) => make('th', {scope: 'col', className: 'text'}, title)))),
          make(
              'tbody', {},
              rows.map(
                  ({row, name, links}) => make(
                      'tr', {}, make('th', {scope: 'row'}, name), make('td', {className: 'text'}, row.method || '-'),
                      make('td', {className: 'text'}, row.preset || '-'), make('td', {className: 'text'}, overrides(row) || '-'),
                      make(
                          'td', {className: 'text'},
                          links.length > 0 ? links.flatMap((one, i) => (i > 0 ? [make('br', {}), link(one)] : [link(one)])) :
                                             '-')))))));
}

/** Runs that failed, where the comparison went on without them. */
function addFailures(rows) {
  const failed = rows.flatMap(({row, name}) => asList(row.failed).map((run) => [name, run.seed ?? '-', run.reason || '-']));
  if (failed.length === 0) return;
  addSection('Runs that failed', 'Their methods are scored on the other seeds only.')
      .append(scrollBox('Runs that failed', plainTable(['row', 'seed', 'reason'], failed)));
}

/** What was resampled is fedalt compare's affair (docs/commands.md); this says it in the words of its table. */
function addIntervalLegend(comparison, metric, rows) {
  const section = addSection('How to read the intervals');
  if (!rows.some(({mean}) => isNumber(mean.low))) {
    section.append(
        make('p', {}, 'There are none: a loss is one number per site and seed, and one seed says nothing of its spread.'));
    return;
  }
  const share = isNumber(comparison.confidence) ? +(100 * comparison.confidence).toFixed(1) + ' %' : 'middle part';
  const resamples = (isNumber(comparison.bootstrap) ? countText(comparison.bootstrap) : 'many') + ' bootstrap resamples of ';
  const oneSeed = seedCount(comparison) === 1;
  const drawn = kLowerIsBetter.has(metric) ?
      'the seeds; a loss is one number per site and seed, so that test examples are chance is not covered.' :
      oneSeed ? 'each site\'s test examples; with one seed, what another seed would change is not covered.' :
                'each site\'s test examples and of the seeds.';
  const lines = [
    'An interval holds the middle ' + share + ' of what the same number was in ' + resamples + drawn +
        ' The sites themselves are fixed: they are ' +
        'whom the comparison is about. A narrow interval says that the number is well known, not that the method is good.',
    'All methods are compared on the same resamples, so the interval of a difference is the one to look at: intervals of two methods ' +
        'may overlap where their difference is clear.',
    'p is the probability of a difference at least this large if there were none. With many methods some p are small by chance; ' +
        'the corrected one (Holm) allows for that.',
    'The worst site is chosen after the fact, so its value is lower than that of a site named beforehand would be.',
  ];
  section.append(...lines.map((text) => make('p', {}, text)));
}
