// Tables, and tables whose cells are coloured by value (heat maps). A wide one scrolls inside its own box.

const kColumnsAtOnce = 40;

/** A box that scrolls by itself, also with the keyboard. */
function scrollBox(label, ...children) {
  return make('div', {className: 'scroll', tabIndex: 0, role: 'region', 'aria-label': label}, ...children);
}

function plainTable(head, rows) {
  return make(
      'table', {}, make('thead', {}, make('tr', {}, head.map((text) => make('th', {scope: 'col'}, String(text))))),
      make(
          'tbody', {},
          rows.map(
              (row) => make(
                  'tr', {},
                  row.map((text, i) => (i === 0 ? make('th', {scope: 'row'}, String(text)) : make('td', {}, String(text))))))));
}

/**
 * A table that can be sorted by each column. `columns`: [{title, value(row), text(row), className(row)}], the first of which names
 * the row; `foot`: a row that stays below.
 */
function addSortedTable(parent, label, columns, rows, foot) {
  const body = make('tbody', {});
  const cell = (column, row, index) => make(
      index === 0 ? 'th' : 'td',
      Object.assign({className: column.className ? column.className(row) : ''}, index === 0 ? {scope: 'row'} : {}),
      column.text(row));
  const line = (row) => make('tr', {}, columns.map((column, index) => cell(column, row, index)));
  const fill = (order) => body.replaceChildren(...order.map(line));
  let sorted = -1, direction = 1;
  const heads = columns.map((column, index) => {
    const button = make('button', {type: 'button', title: 'sort by this column'}, column.title);
    const head = make('th', {scope: 'col'}, button);
    button.addEventListener('click', () => {
      direction = sorted === index ? -direction : 1;
      sorted = index;
      heads.forEach((other) => other.removeAttribute('aria-sort'));
      head.setAttribute('aria-sort', direction > 0 ? 'ascending' : 'descending');
      fill([...rows].sort((a, b) => direction * compareCells(column.value(a), column.value(b))));
    });
    return head;
  });
  fill(rows);
  parent.append(scrollBox(
      label, make('table', {}, make('thead', {}, make('tr', {}, heads)), body, foot ? make('tfoot', {}, line(foot)) : null)));
}

/** Numbers before text, what was not measured last. */
function compareCells(a, b) {
  if (isNumber(a) && isNumber(b)) return a - b;
  if (isNumber(a) !== isNumber(b)) return isNumber(a) ? -1 : 1;
  return String(a ?? '').localeCompare(String(b ?? ''), 'en', {numeric: true});
}

/**
 * A heat map. `map`: {label, corner, rows: [name], columns: [name], values: [[number | null]], text(number), own(i, j), best(i, j),
 * low, high: of the scale, lowerIsBetter: true | false where one
 * end of it is the better one, legend: [element]}. With many columns a select chooses which are shown.
 */
function addHeatMap(parent, map) {
  const numbers = map.values.flat().filter(isNumber);
  const low = isNumber(map.low) ? map.low : numbers.reduce((a, b) => Math.min(a, b), Infinity);
  const high = isNumber(map.high) ? map.high : numbers.reduce((a, b) => Math.max(a, b), -Infinity);
  const [pale, dark] = map.lowerIsBetter === true ? [high, low] : [low, high];
  const share = (value) => (high > low ? Math.min(1, Math.max(0, (value - pale) / (dark - pale))) : 0.5);
  const box = scrollBox(map.label);
  box.classList.add('fit');
  const cell = (i, j) => {
    const value = map.values[i][j];
    if (!isNumber(value)) return make('td', {className: 'empty'}, '-');
    const td = make('td', {title: map.rows[i] + ', ' + map.columns[j]}, map.text(value));
    td.className = 'heat' +
        (share(value) > 0.72     ? ' high' :
             share(value) > 0.54 ? ' middle' :
                                   '') +
        (map.own && map.own(i, j) ? ' own' : '') + (map.best && map.best(i, j) ? ' best' : '');
    td.style.setProperty('--share', share(value).toFixed(3));
    return td;
  };
  const show = (first) => {
    const columns = map.columns.map((_, j) => j).slice(first, first + kColumnsAtOnce);
    box.replaceChildren(make(
        'table', {className: 'heat-table'},
        make(
            'thead', {},
            make('tr', {}, make('th', {scope: 'col'}, map.corner), columns.map((j) => make('th', {scope: 'col'}, map.columns[j])))),
        make(
            'tbody', {},
            map.rows.map((name, i) => make('tr', {}, make('th', {scope: 'row'}, name), columns.map((j) => cell(i, j)))))));
  };
  const parts = [
    make(
        'span', {}, map.text(pale), make('span', {className: 'ramp', 'aria-hidden': 'true'}), map.text(dark),
        map.lowerIsBetter === undefined ? '' : ' (better)'),
    ...asList(map.legend)
  ];
  const legend = make('div', {className: 'legend'}, parts);
  parent.append(legend);
  if (map.columns.length > kColumnsAtOnce) {
    const options = [];
    for (let first = 0; first < map.columns.length; first += kColumnsAtOnce) {
      options.push([first, map.columns[first] + ' to ' + map.columns[Math.min(first + kColumnsAtOnce, map.columns.length) - 1]]);
    }
    const controls = make('div', {className: 'controls'});
    addSelect(controls, 'Columns', options, (first) => show(Number(first)));
    parent.append(controls);
  }
  show(0);
  parent.append(box);
}
