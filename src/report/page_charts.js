// Charts (Chart.js). Each has a text for those who do not see it and a table of its numbers; colours come in two sets, for light
// and dark, that stay apart for colour-blind readers (after Okabe and Ito), and lines differ by dash and point, too.

const kColours = {
  light: ['#0072b2', '#c44e00', '#007a5a', '#b0528d', '#a87400', '#2f8fc4', '#6b4c1f', '#5b4fa2'],
  dark: ['#6cb8ee', '#ff9a5c', '#4fcf9f', '#e59ac8', '#f0c04a', '#a9dcff', '#cdb187', '#b5a8ff'],
};
const kDashes = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const kPoints = ['circle', 'triangle', 'rect', 'rectRot', 'star', 'crossRot', 'rectRounded', 'cross'];
const darkQuery = window.matchMedia('(prefers-color-scheme: dark)');
const drawnCharts = new Set();

const cssColour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const seriesColour = (index) => kColours[darkQuery.matches ? 'dark' : 'light'][index % kColours.light.length];

/** A chart in `parent`. `build` returns Chart.js's configuration and is called again when light and dark change. */
class ReportChart {
  constructor(parent) {
    this.canvas = make('canvas', {role: 'img'});
    this.box = make('div', {className: 'chart'}, this.canvas);
    this.note = make('figcaption', {});
    this.body = make('div', {className: 'scroll', tabIndex: 0, role: 'region', 'aria-label': 'Numbers of the chart'});
    this.table = make('details', {}, make('summary', {}, 'The numbers as a table'), this.body);
    this.table.addEventListener('toggle', () => this.fillTable());
    parent.append(make('figure', {}, this.note, this.box, this.table));
    drawnCharts.add(this);
  }

  /** `table`: a function that returns {head: [...], rows: [[...], ...]}. */
  show(label, build, table, height) {
    this.canvas.setAttribute('aria-label', label);
    this.note.textContent = label;
    if (height) this.box.style.height = height + 'px';
    this.build = build;
    this.rows = table;
    this.hide(false);
    this.draw();
    this.fillTable();
  }

  /** A sentence in the place of a chart that would be empty. */
  say(text) {
    if (this.chart) this.chart.destroy();
    this.chart = this.build = null;
    this.note.textContent = text;
    this.hide(true);
  }

  hide(hidden) { this.box.hidden = this.table.hidden = hidden; }

  draw() {
    if (!this.build) return;
    if (this.chart) this.chart.destroy();
    const config = this.build();
    config.options = Object.assign({animation: false, responsive: true, maintainAspectRatio: false}, config.options);
    this.chart = new Chart(this.canvas, config);
  }

  fillTable() {
    if (!this.table.open || !this.rows) return;
    const {head, rows} = this.rows();
    this.body.replaceChildren(plainTable(head, rows));
  }
}

darkQuery.addEventListener('change', () => drawnCharts.forEach((chart) => chart.draw()));

function axis(title, extra) {
  return Object.assign(
      {
        title: {display: title !== '', text: title, color: cssColour('--muted')},
        ticks: {color: cssColour('--muted')},
        grid: {color: cssColour('--line')},
      },
      extra);
}

const legendOptions = () =>
    ({position: 'bottom', labels: {color: cssColour('--text'), usePointStyle: true, boxHeight: 7, boxWidth: 14, padding: 12}});

function percentTicks(metric) {
  const ticks = {color: cssColour('--muted')};
  if (kShares.has(metric)) ticks.callback = (value) => +(100 * value).toFixed(1) + ' %';
  return ticks;
}

/**
 * Lines over rounds. `lines`: [{name, values, emphasis, index, dash}], values as long as `rounds`, null where nothing was
 * measured.
 */
function showLines(chart, label, metric, rounds, lines) {
  const build = () => ({
    type: 'line',
    data: {
      datasets: lines.map((line) => {
        const colour = line.emphasis ? cssColour('--text') : seriesColour(line.index);
        return {
          label: line.name,
          data: rounds.map((x, i) => ({x, y: line.values[i]})).filter((point) => isNumber(point.y)),
          borderColor: colour,
          backgroundColor: colour,
          borderWidth: line.emphasis ? 3.5 : 1.7,
          borderDash: line.dash || (line.emphasis ? [] : kDashes[Math.floor(line.index / kColours.light.length) % kDashes.length]),
          pointStyle: kPoints[line.index % kPoints.length],
          pointRadius: rounds.length > 40 ? 0 : 3,
          pointHitRadius: 6,
          order: line.emphasis ? 0 : 1,
        };
      }),
    },
    options: {
      interaction: {mode: 'nearest', axis: 'x', intersect: false},
      scales: {
        x: axis('round', {type: 'linear', ticks: {color: cssColour('--muted'), precision: 0}}),
        y: axis(scoreName(metric), {ticks: percentTicks(metric)})
      },
      plugins: {
        legend: legendOptions(),
        tooltip: {
          callbacks: {
            title: (items) => 'round ' + items[0].parsed.x,
            label: (item) => item.dataset.label + ': ' + scoreText(metric, item.parsed.y) + scoreUnit(metric)
          }
        },
      },
    },
  });
  chart.show(label, build, () => ({
                             head: ['round', ...lines.map((line) => line.name)],
                             rows: rounds.map((round, i) => [round, ...lines.map((line) => scoreText(metric, line.values[i]))]),
                           }));
}

/** Bars, one group per label. `bars`: [{name, values}]; `text` makes a number readable. */
function showBars(chart, label, axisTitle, labels, bars, text, options) {
  const settings = Object.assign({horizontal: false, stacked: false}, options);
  const build = () => {
    const values = axis(axisTitle, {
      stacked: settings.stacked,
      beginAtZero: true,
      ticks: {color: cssColour('--muted'), callback: (value) => text(value), maxTicksLimit: 7}
    });
    const names = axis(settings.labelTitle || '', {stacked: settings.stacked, grid: {display: false}});
    return {
      type: 'bar',
      data: {
        labels,
        datasets: bars.map(
            (bar, index) => ({label: bar.name, data: bar.values, backgroundColor: seriesColour(index), maxBarThickness: 26}))
      },
      options: {
        indexAxis: settings.horizontal ? 'y' : 'x',
        scales: settings.horizontal ? {x: values, y: names} : {x: names, y: values},
        plugins: {
          legend: bars.length > 1 ? legendOptions() : {display: false},
          tooltip:
              {callbacks: {label: (item) => item.dataset.label + ': ' + text(settings.horizontal ? item.parsed.x : item.parsed.y)}},
        },
      },
    };
  };
  chart.show(
      label, build, () => ({
                      head: [settings.labelTitle || '', ...bars.map((bar) => bar.name)],
                      rows: labels.map((name, i) => [name, ...bars.map((bar) => text(bar.values[i]))]),
                    }),
      settings.height);
}

/** Draws a line from low to high at each point of a dataset that has them, along x; and where zero is, if it is in sight. */
const whiskers = {
  id: 'whiskers',
  beforeDatasetsDraw(chart) {
    const {ctx, chartArea} = chart, zero = chart.scales.x.getPixelForValue(0);
    if (zero > chartArea.left && zero < chartArea.right) {
      ctx.fillStyle = cssColour('--muted');
      ctx.fillRect(zero - 1, chartArea.top, 2, chartArea.bottom - chartArea.top);
    }
    chart.data.datasets.forEach((dataset, index) => {
      if (!chart.isDatasetVisible(index)) return;
      ctx.save();
      ctx.strokeStyle = dataset.borderColor;
      ctx.lineWidth = 2;
      for (const point of dataset.data) {
        if (!isNumber(point.low) || !isNumber(point.high)) continue;
        const y = chart.scales.y.getPixelForValue(point.y), from = chart.scales.x.getPixelForValue(point.low),
              to = chart.scales.x.getPixelForValue(point.high);
        ctx.beginPath();
        for (const [x1, y1, x2, y2] of [[from, y, to, y], [from, y - 4, from, y + 4], [to, y - 4, to, y + 4]]) {
          ctx.moveTo(x1, y1);
          ctx.lineTo(x2, y2);
        }
        ctx.stroke();
      }
      ctx.restore();
    });
  },
};

/**
 * Dots with whiskers, one row per name. `series`: [{name, points: [{x, low, high}]}], a point per name. `include`: values that the
 * axis shows in any case.
 */
function showWhiskers(chart, label, metric, names, series, include) {
  const build = () => {
    const all = asList(include)
                    .concat(series.flatMap((one) => one.points.flatMap((point) => [point.x, point.low, point.high])))
                    .filter(isNumber);
    const margin = 0.04 * (Math.max(...all) - Math.min(...all) || 1);
    const row = (position) => names[-position];
    return {
      type: 'scatter',
      plugins: [whiskers],
      data: {
        datasets: series.map((one, index) => ({
                               label: one.name,
                               borderColor: seriesColour(index),
                               backgroundColor: seriesColour(index),
                               pointStyle: kPoints[index * 3],
                               pointRadius: 6,
                               data: one.points
                                         .map((point, i) => ({
                                                x: point.x,
                                                y: -i + (index - (series.length - 1) / 2) * -0.24,
                                                low: point.low,
                                                high: point.high,
                                                name: names[i]
                                              }))
                                         .filter((point) => isNumber(point.x)),
                             })),
      },
      options: {
        scales: {
          x: axis(scoreName(metric), {
            min: Math.min(...all) - margin,
            max: Math.max(...all) + margin,
            ticks: Object.assign({includeBounds: false}, percentTicks(metric))
          }),
          y: axis('', {
            min: -names.length + 0.5,
            max: 0.5,
            afterBuildTicks: (scale) => {
              scale.ticks = names.map((_, i) => ({value: -i}));
            },
            ticks: {color: cssColour('--text'), autoSkip: false, callback: row}
          }),
        },
        plugins: {
          legend: series.length > 1 ? legendOptions() : {display: false},
          tooltip: {
            callbacks:
                {label: ({raw, dataset}) => raw.name + ', ' + dataset.label + ': ' + intervalText(metric, raw.x, raw.low, raw.high)}
          },
        },
      },
    };
  };
  chart.show(
      label, build,
      () => ({
        head: ['', ...series.map((one) => one.name)],
        rows: names.map(
            (name,
             i) => [name, ...series.map((one) => intervalText(metric, one.points[i].x, one.points[i].low, one.points[i].high))]),
      }),
      110 + 46 * names.length);
}

function intervalText(metric, value, low, high) {
  const interval = isNumber(low) && isNumber(high) ? ' (' + scoreText(metric, low) + ' to ' + scoreText(metric, high) + ')' : '';
  return scoreText(metric, value) + scoreUnit(metric) + interval;
}

/** One labelled point per name. `points`: [{name, x, y}]. */
function showPoints(chart, label, metric, xTitle, xText, points) {
  const build = () => ({
    type: 'scatter',
    data: {
      datasets: points.map((point, index) => ({
                             label: point.name,
                             data: [{x: point.x, y: point.y}],
                             borderColor: seriesColour(index),
                             backgroundColor: seriesColour(index),
                             pointStyle: kPoints[index % kPoints.length],
                             pointRadius: 7,
                             pointBorderWidth: 2,
                           })),
    },
    options: {
      scales: {
        x: axis(
            xTitle, {beginAtZero: true, ticks: {color: cssColour('--muted'), callback: (value) => xText(value), maxTicksLimit: 7}}),
        y: axis(scoreName(metric), {ticks: percentTicks(metric)})
      },
      plugins: {
        legend: legendOptions(),
        tooltip: {
          callbacks: {
            label: (item) =>
                item.dataset.label + ': ' + scoreText(metric, item.parsed.y) + scoreUnit(metric) + ' for ' + xText(item.parsed.x)
          }
        },
      },
    },
  });
  chart.show(
      label, build, () => ({
                      head: ['', xTitle, scoreName(metric)],
                      rows: points.map((point) => [point.name, xText(point.x), scoreText(metric, point.y) + scoreUnit(metric)]),
                    }));
}
