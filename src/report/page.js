'use strict';
// What both kinds of report share. Everything from the data goes into the page as text (textContent), never as markup.

const kScoreNames = {
  train_loss: 'train loss',
  loss: 'test loss',
  rouge1: 'ROUGE\u20111',
  rouge2: 'ROUGE\u20112',
  rougeL: 'ROUGE\u2011L',
  exact_match: 'exact match',
  validation_loss: 'validation loss',
  mean_individual_weight: 'mean weight of the individual adapter',
};
const kLowerIsBetter = new Set(['train_loss', 'loss', 'validation_loss']);
const kShares = new Set(['rouge1', 'rouge2', 'rougeL', 'exact_match']);

const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);
const asList = (value) => (Array.isArray(value) ? value : []);
const asObject = (value) => (value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {});
const scoreName = (metric) => (Object.hasOwn(kScoreNames, metric) ? kScoreNames[metric] : metric);
const isBetter = (metric, a, b) => (kLowerIsBetter.has(metric) ? a < b : a > b);

/** An element with properties and children; strings become text. */
function make(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name in element && name !== 'list')
      element[name] = value;
    else
      element.setAttribute(name, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

/** A score as people read it: shares in percent, losses with three decimals, "-" where nothing was measured. */
function scoreText(metric, value, signed) {
  if (!isNumber(value)) return '-';
  const sign = signed && value > 0 ? '+' : '';
  return kShares.has(metric) ? sign + (100 * value).toFixed(1) : sign + value.toFixed(3);
}
const scoreUnit = (metric) => (kShares.has(metric) ? '\u00a0%' : '');

function bytesText(bytes) {
  if (!isNumber(bytes)) return '-';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let index = 0;
  for (; bytes >= 1000 && index < units.length - 1; ++index) bytes /= 1000;
  return (index === 0 || bytes >= 100 ? bytes.toFixed(0) : bytes.toFixed(1)) + '\u00a0' + units[index];
}

function durationText(seconds) {
  if (!isNumber(seconds)) return '-';
  if (seconds < 60) return seconds.toFixed(seconds < 10 ? 1 : 0) + ' s';
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? minutes + ' min' : Math.floor(minutes / 60) + ' h ' + (minutes % 60) + ' min';
}

const countText = (value) => (isNumber(value) ? Math.round(value).toLocaleString('en-US') : '-');

function meanOf(values) {
  const numbers = values.filter(isNumber);
  return numbers.length > 0 ? numbers.reduce((sum, value) => sum + value, 0) / numbers.length : null;
}

/** A labelled select; `change` is called with the value at once and after each choice. `options`: [value, text] pairs. */
function addSelect(parent, label, options, change) {
  const select = make('select', {}, options.map(([value, text]) => make('option', {value: String(value)}, text)));
  parent.append(make('label', {}, label, select));
  select.addEventListener('change', () => change(select.value));
  return select;
}

const sectionTitles = [];
/** A section of the report with its title; named in the list at the top. */
function addSection(title, text) {
  const id = 'part-' + (sectionTitles.length + 1);
  const section = make('section', {id}, make('h2', {}, title), text ? make('p', {className: 'muted'}, text) : null);
  sectionTitles.push([id, title]);
  document.getElementById('report').append(section);
  return section;
}

/** Says in one line what is not shown, and why. */
function addAbsent(title, why) { addSection(title).append(make('p', {className: 'muted'}, why)); }

function addHead(title, subtitle, facts, result) {
  const known = facts.filter(([, value]) => value !== null && value !== undefined && value !== '');
  document.title = title + ' - fedalt';
  document.getElementById('report').append(make(
      'header', {}, make('h1', {}, title), make('p', {className: 'muted'}, subtitle),
      make(
          'dl', {className: 'facts'},
          known.map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, String(value))))),
      make('p', {className: 'result'}, result)));
}

function addContents() {
  const links = sectionTitles.map(([id, title]) => make('a', {href: '#' + id}, title.split(':')[0]));
  document.querySelector('header').append(make('nav', {'aria-label': 'Contents'}, links));
}

document.addEventListener('DOMContentLoaded', () => {
  const data = JSON.parse(document.getElementById('data').textContent);
  if (data.kind === 'run')
    showRun(data);
  else
    showComparison(data);
  addContents();
  document.getElementById('report').append(make(
      'footer', {},
      'Made by fedalt report from the files of this directory. This page asks no network for anything. Charts: Chart.js ' +
          Chart.version + ', MIT licence.'));
  document.body.dataset.ready = 'yes';
});
