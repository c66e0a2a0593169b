// Opens reports in a real browser and fails if one of them logs to the console, throws, asks for anything beside its own file, is
// wider than the screen, or shows an empty chart, at desktop and phone width, light and dark, and with every choice of every
// select.
//   node tests/browser/report_check.mjs [--screenshots DIR] REPORT.html...
// Needs Debian's packages chromium and nodejs (18 or later). CHROMIUM names another browser of that family. Talks to it through a
// pipe
// (--remote-debugging-pipe), so there is no port and no other package.
import {spawn} from 'node:child_process';
import {mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {basename, dirname, join, resolve} from 'node:path';
import {pathToFileURL} from 'node:url';

const kWidths = [1300, 390];
const kSchemes = ['light', 'dark'];
const kMaxMs = 60000;  // for one answer of the browser

/** The browser's end of the DevTools protocol: messages that end with a zero byte. */
class Browser {
  constructor() {
    this.profile = mkdtempSync(join(tmpdir(), 'fedalt-browser-'));
    const flags = [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--no-first-run', '--no-default-browser-check', '--remote-debugging-pipe',
      '--user-data-dir=' + this.profile
    ];
    this.process = spawn(process.env.CHROMIUM || 'chromium', flags, {stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe']});
    this.next = 1;
    this.waiting = new Map();
    this.listeners = [];
    let rest = Buffer.alloc(0);
    this.process.stdio[4].on('data', (bytes) => {
      rest = Buffer.concat([rest, bytes]);
      for (let end = rest.indexOf(0); end >= 0; end = rest.indexOf(0)) {
        this.receive(JSON.parse(rest.subarray(0, end).toString()));
        rest = rest.subarray(end + 1);
      }
    });
    this.ended = new Promise((settle) => {
      this.process.on('error', (error) => settle('the browser cannot be started: ' + error.message));
      this.process.on('exit', () => settle('the browser has ended'));
    });
    this.ended.then((reason) => this.fail(reason));
    this.process.stdio[3].on('error', () => {});
  }

  fail(message) {
    for (const {reject} of this.waiting.values()) reject(new Error(message));
    this.waiting.clear();
  }

  receive(message) {
    if (message.id === undefined) return this.listeners.forEach((listener) => listener(message));
    const {settle, reject} = this.waiting.get(message.id);
    this.waiting.delete(message.id);
    if (message.error)
      reject(new Error(message.error.message));
    else
      settle(message.result);
  }

  send(method, params, sessionId) {
    const id = this.next++;
    return new Promise((settle, reject) => {
      const timer = setTimeout(() => reject(new Error(method + ': the browser does not answer')), kMaxMs);
      this.waiting.set(id, {
        settle: (value) => {
          clearTimeout(timer);
          settle(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        }
      });
      this.process.stdio[3].write(JSON.stringify({id, method, params, sessionId}) + '\0');
    });
  }

  async close() {
    await Promise.race([this.send('Browser.close').catch(() => {}), this.ended]);
    await this.ended;
    rmSync(this.profile, {recursive: true, force: true, maxRetries: 5});
  }
}

/** Runs in the page: a list of complaints. */
async function examine() {
  const complaints = [];
  const frame = () => new Promise((settle) => requestAnimationFrame(() => settle()));
  const pixelsOf = (canvas) => {
    const {width, height} = canvas;
    if (width * height === 0) return [];
    const copy = Object.assign(document.createElement('canvas'), {width, height}).getContext('2d', {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    return copy.getImageData(0, 0, width, height).data;
  };
  const look = (when) => {
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth)
      complaints.push(`${when}: the page is ${root.scrollWidth} wide, the screen ${root.clientWidth}`);
    for (const canvas of document.querySelectorAll('canvas')) {
      if (canvas.closest('[hidden]')) continue;
      const name = canvas.getAttribute('aria-label');
      if (!name) complaints.push(`${when}: a chart has no label`);
      if (!pixelsOf(canvas).some((value) => value !== 0)) complaints.push(`${when}: the chart "${name}" is empty`);
    }
  };
  if (document.body.dataset.ready !== 'yes') complaints.push('the page did not finish');
  if (document.querySelector('img, iframe, object, embed, [onerror], [onload], [onclick]'))
    complaints.push('text of the data became markup');
  look('at the start');
  for (const details of document.querySelectorAll('details')) details.open = true;
  await frame();
  look('with all details open');
  for (const table of document.querySelectorAll('table')) {
    if (!table.closest('.scroll')) complaints.push('a table does not scroll in a box of its own');
    if (table.rows.length < 2) complaints.push('a table is empty');
  }
  for (const details of document.querySelectorAll('details')) details.open = false;
  for (const select of document.querySelectorAll('select')) {
    const before = select.value;
    for (const option of [...select.options].slice(0, 12)) {
      select.value = option.value;
      select.dispatchEvent(new Event('change'));
      await frame();
      look(`${select.parentElement.firstChild.textContent} = ${option.text}`);
    }
    select.value = before;
    select.dispatchEvent(new Event('change'));
  }
  for (const button of document.querySelectorAll('th button')) button.click();
  await frame();
  return complaints;
}

async function check(browser, file, width, scheme, screenshots) {
  const url = pathToFileURL(resolve(file)).href;
  const {targetId} = await browser.send('Target.createTarget', {url: 'about:blank'});
  const {sessionId} = await browser.send('Target.attachToTarget', {targetId, flatten: true});
  const send = (method, params) => browser.send(method, params, sessionId);
  const complaints = [];
  const loaded = new Promise((settle) => browser.listeners.push(({method, params, sessionId: from}) => {
    if (from !== sessionId) return;
    if (method === 'Runtime.consoleAPICalled')
      complaints.push('console: ' + params.args.map((arg) => arg.value ?? arg.description).join(' '));
    if (method === 'Runtime.exceptionThrown')
      complaints.push('exception: ' + (params.exceptionDetails.exception?.description ?? params.exceptionDetails.text));
    if (method === 'Log.entryAdded') complaints.push('log: ' + params.entry.text);
    if (method === 'Network.requestWillBeSent' && params.request.url !== url && !params.request.url.startsWith('data:'))
      complaints.push('request: ' + params.request.url);
    if (method === 'Page.loadEventFired') settle();
  }));
  for (const domain of ['Runtime', 'Log', 'Network', 'Page']) await send(domain + '.enable');
  await send('Emulation.setDeviceMetricsOverride', {width, height: 900, deviceScaleFactor: 1, mobile: width < 600});
  await send('Emulation.setEmulatedMedia', {features: [{name: 'prefers-color-scheme', value: scheme}]});
  await send('Page.navigate', {url});
  await loaded;
  if (screenshots) {
    const {data} = await send('Page.captureScreenshot', {captureBeyondViewport: true});
    writeFileSync(join(screenshots, `${basename(dirname(resolve(file)))}-${width}-${scheme}.png`), Buffer.from(data, 'base64'));
  }
  const {result, exceptionDetails} =
      await send('Runtime.evaluate', {expression: `(${examine})()`, awaitPromise: true, returnByValue: true});
  complaints.push(...(exceptionDetails ? ['the check itself failed: ' + exceptionDetails.exception?.description] : result.value));
  await browser.send('Target.closeTarget', {targetId});
  return [...new Set(complaints)];
}

const files = process.argv.slice(2);
let screenshots = null;
if (files[0] === '--screenshots') {
  screenshots = files.splice(0, 2)[1];
  mkdirSync(screenshots, {recursive: true});
}
if (files.length === 0) {
  console.error('usage: node tests/browser/report_check.mjs [--screenshots DIR] REPORT.html...');
  process.exit(2);
}
const browser = new Browser();
let failures = 0;
try {
  for (const file of files) {
    for (const width of kWidths) {
      for (const scheme of kSchemes) {
        const complaints = await check(browser, file, width, scheme, screenshots);
        console.log(`${complaints.length === 0 ? 'ok  ' : 'FAIL'} ${file} ${width} ${scheme}`);
        complaints.forEach((complaint) => console.log('     ' + complaint));
        failures += complaints.length;
      }
    }
  }
} catch (error) {
  console.error('report_check: ' + error.message);
  failures += 1;
} finally {
  await browser.close();
}
process.exit(failures > 0 ? 1 : 0);
