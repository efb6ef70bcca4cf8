// The script of the report page: draws what stands in the page's own data. Runs in a browser, from the page itself.
//
// Invariant: nothing is fetched; a figure that was not measured is a gap, never 0. Colours are the style sheet's, so a
// change between light and dark draws again.
(() => {
  const report = JSON.parse(document.getElementById('data').textContent);
  const uPlot = window.uPlot;
  const nameOf = (result) => result.peer ?? `onepiece, ${result.way}`;
  const subjects = [...new Set(report.results.map(nameOf))];
  const isOurs = (name) => name.startsWith('onepiece');
  const hidden = new Set();
  const charts = [];

  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const sizeWords = (bytes) => {
    const power = bytes < 1 ? 0 : Math.min(3, Math.floor(Math.log2(bytes) / 10));
    return `${Number((bytes / 1024 ** power).toPrecision(3))} ${units[power]}`;
  };
  const figure = (value) => {
    if (value === null || value === undefined) return '–';
    if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
    if (value >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
    return String(Number(value.toPrecision(3)));
  };

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const main = document.querySelector('main');
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colorOf = (name) => `var(--c${subjects.indexOf(name) % 11})`;

  const section = (title, words) => {
    main.append(element('h2', {}, title), element('p', {}, words));
    const box = element('div', { class: 'charts' });
    main.append(box);
    return box;
  };

  // ---- Lines by size

  const heightOf = (width) => Math.round(Math.max(240, Math.min(340, width * 0.62)));

  /** A chart with a line for each subject; `pick` takes the figure out of a result. */
  function lines(box, title, unit, test, pick) {
    const results = report.results.filter((result) => result.test === test);
    const sizes = [...new Set(results.map(({ sizeBytes }) => sizeBytes))].sort((a, b) => a - b);
    const rows = subjects.map((name) =>
      sizes.map((size) => {
        const found = results.find((result) => result.sizeBytes === size && nameOf(result) === name);
        const value = found === undefined ? null : pick(found);
        return value > 0 ? value : null;
      }),
    );
    if (!rows.some((row) => row.some((value) => value !== null))) return;
    const card = element('div', { class: 'card' }, element('h3', {}, title));
    const place = element('div', { role: 'img', 'aria-label': `${title}; the figures are in the table below` });
    const tip = element('div', { class: 'tip' }, 'Point at the chart for its figures.');
    card.append(place, tip);
    box.append(card);

    const draw = () => {
      const axis = {
        stroke: css('--quiet'),
        grid: { stroke: css('--grid'), width: 1 },
        ticks: { stroke: css('--grid'), width: 1 },
        font: '12px system-ui, sans-serif',
      };
      const few = sizes.filter((_, i) => i % Math.ceil(sizes.length / 6) === 0);
      const around = (_plot, low, high) => [low / 1.6, high * 1.6];
      return new uPlot(
        {
          width: place.clientWidth,
          height: heightOf(place.clientWidth),
          legend: { show: false },
          cursor: { drag: { x: false, y: false }, points: { size: 7 } },
          scales: { x: { time: false, distr: 3, log: 2, range: around }, y: { distr: 3, log: 10, range: around } },
          axes: [
            { ...axis, splits: () => few, values: (_plot, values) => values.map(sizeWords), filter: (_p, s) => s },
            {
              ...axis,
              size: 54,
              values: (_plot, values) => values.map((value) => (value === null ? '' : figure(value))),
            },
          ],
          series: [
            {},
            ...subjects.map((name, i) => ({
              label: name,
              show: !hidden.has(name),
              stroke: css(`--c${i % 11}`),
              width: isOurs(name) ? 3 : 1.5,
              dash: isOurs(name) || i % 2 === 0 ? undefined : [6, 4],
              spanGaps: true,
              points: { show: true, size: isOurs(name) ? 7 : 5, fill: css(`--c${i % 11}`) },
            })),
          ],
          hooks: {
            setCursor: [
              (plot) => {
                const { idx } = plot.cursor;
                if (idx === null || idx === undefined) return;
                const shown = subjects
                  .map((name, i) => ({ name, value: rows[i][idx] }))
                  .filter(({ name, value }) => value !== null && !hidden.has(name))
                  .sort((a, b) => a.value - b.value);
                tip.textContent = `${sizeWords(sizes[idx])}: ${shown.map(({ name, value }) => `${name} ${figure(value)}`).join(' · ')} (${unit})`;
              },
            ],
          },
        },
        [sizes, ...rows],
        place,
      );
    };
    const chart = { plot: draw(), place };
    chart.redraw = () => {
      chart.plot.destroy();
      chart.plot = draw();
    };
    charts.push(chart);
    new ResizeObserver(() => {
      const width = place.clientWidth;
      if (width > 0 && width !== chart.plot.width) chart.plot.setSize({ width, height: heightOf(width) });
    }).observe(place);
  }

  // ---- Bars, for what has one size

  function bars(box, title, results, pick, words) {
    const known = results.filter((result) => pick(result) > 0).sort((a, b) => pick(b) - pick(a));
    if (known.length === 0) return;
    const most = pick(known[0]);
    const grid = element('div', { class: 'bars' });
    for (const result of known) {
      const style = `width:${(100 * pick(result)) / most}%;background:${colorOf(nameOf(result))}`;
      const bar = element('span', { class: 'bar', style });
      grid.append(element('span', {}, nameOf(result)), element('span', {}, bar), element('span', {}, words(result)));
    }
    box.append(element('div', { class: 'card' }, element('h3', {}, title), grid));
  }

  // ---- Tables

  function figures(title, test, columns) {
    const results = report.results.filter((result) => result.test === test);
    if (results.length === 0) return;
    const head = element('tr', {}, element('th', {}, 'size'), element('th', { class: 'word' }, 'who'));
    head.append(...columns.map(([name]) => element('th', {}, name)));
    const table = element('table', { class: 'figures' }, element('thead', {}, head));
    const body = element('tbody');
    for (const result of results) {
      const row = element('tr', result.peer === null ? { class: 'ours' } : {});
      row.append(element('td', {}, sizeWords(result.sizeBytes)), element('td', { class: 'word' }, nameOf(result)));
      row.append(...columns.map(([, pick]) => element('td', {}, figure(pick(result)))));
      body.append(row);
    }
    table.append(body);
    const scroll = element('div', { class: 'scroll', tabindex: '0' }, table);
    main.append(element('details', {}, element('summary', {}, title), scroll));
  }

  // ---- The page

  const ofTest = (test) => report.results.filter((result) => result.test === test);
  main.append(element('h1', {}, 'Rings beside their peers'));
  const { machine } = report;
  main.append(
    element(
      'p',
      {},
      `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGib} GiB, Linux ${machine.kernel}, Node.js ${machine.node}. ${report.takenAt}`,
    ),
  );
  for (const { peer, test, sizeBytes, reason } of report.failures) {
    main.append(element('p', { class: 'note' }, `${peer} failed in ${test} with ${sizeWords(sizeBytes)}: ${reason}`));
  }
  if (subjects.length > 1) {
    const legend = element('div', { class: 'legend' });
    for (const name of subjects) {
      const button = element('button', { type: 'button', 'aria-pressed': 'true' });
      button.append(element('span', { class: 'swatch', style: `background:${colorOf(name)}` }), name);
      button.addEventListener('click', () => {
        if (!hidden.delete(name)) hidden.add(name);
        button.setAttribute('aria-pressed', String(!hidden.has(name)));
        for (const { plot } of charts) plot.setSeries(1 + subjects.indexOf(name), { show: !hidden.has(name) });
      });
      legend.append(button);
    }
    main.append(legend);
  }

  if (ofTest('ring-lat').length > 0) {
    const box = section(
      'Latency',
      'One way, half of a ping-pong between two processes, without the time in which the messages were written. Less is better; both axes are logarithmic.',
    );
    lines(box, 'Until the consumer holds the message, median (us)', 'us', 'ring-lat', (r) => r.latencyUs.p50);
    lines(box, 'Until it has read every byte, median (us)', 'us', 'ring-lat', (r) => r.touchedUs.p50);
    const tails = section('Tails', 'Of the same samples, until the consumer holds the message.');
    lines(tails, '99th percentile (us)', 'us', 'ring-lat', (r) => r.latencyUs.p99);
    lines(tails, '99.9th percentile (us)', 'us', 'ring-lat', (r) => r.latencyUs.p999);
    lines(tails, 'Until every byte is read, 99th percentile (us)', 'us', 'ring-lat', (r) => r.touchedUs.p99);
    lines(tails, 'The slowest (us)', 'us', 'ring-lat', (r) => r.latencyUs.max);
    figures('All figures of latency, in us', 'ring-lat', [
      ['samples', (r) => r.iterations],
      ['p50', (r) => r.latencyUs.p50],
      ['p99', (r) => r.latencyUs.p99],
      ['p99.9', (r) => r.latencyUs.p999],
      ['max', (r) => r.latencyUs.max],
      ['read p50', (r) => r.touchedUs.p50],
      ['read p99', (r) => r.touchedUs.p99],
      ['read p99.9', (r) => r.touchedUs.p999],
      ['read max', (r) => r.touchedUs.max],
    ]);
  }
  if (ofTest('ring-bw').length > 0) {
    const box = section('Throughput', 'One producer that sends as fast as it may. More is better; GB are 10⁹ bytes.');
    lines(box, 'Messages that the consumer held (GB/s)', 'GB/s', 'ring-bw', (r) => r.gigabytesPerSecond);
    lines(box, 'Messages of which it read every byte (GB/s)', 'GB/s', 'ring-bw', (r) => r.touchedGigabytesPerSecond);
    figures('All figures of throughput', 'ring-bw', [
      ['messages', (r) => r.iterations],
      ['messages/s', (r) => r.messagesPerSecond],
      ['GB/s', (r) => r.gigabytesPerSecond],
      ['read GB/s', (r) => r.touchedGigabytesPerSecond],
    ]);
  }
  const perSecond = (result) => `${figure(result.messagesPerSecond)}/s`;
  const sizesOf = (test) => [...new Set(ofTest(test).map(({ sizeBytes }) => sizeBytes))];
  if (ofTest('ring-rate').length > 0) {
    const box = section('Small messages', 'Messages a second from one producer that sends them in batches.');
    for (const size of sizesOf('ring-rate')) {
      const these = ofTest('ring-rate').filter((result) => result.sizeBytes === size);
      bars(box, `${sizeWords(size)}, messages a second`, these, (r) => r.messagesPerSecond, perSecond);
    }
  }
  if (ofTest('ring-fan-in').length > 0) {
    const box = section(
      'Many producers',
      'Messages a second into one inbox, and how alike the producers’ shares were (Jain: 1 is alike).',
    );
    for (const size of sizesOf('ring-fan-in')) {
      const counts = [...new Set(ofTest('ring-fan-in').map(({ producers }) => producers))];
      for (const producers of counts) {
        const these = ofTest('ring-fan-in').filter((r) => r.sizeBytes === size && r.producers === producers);
        const words = (r) => `${perSecond(r)}${producers > 1 ? `, Jain ${r.jainFairness}` : ''}`;
        const title = `${sizeWords(size)} from ${producers} producer${producers > 1 ? 's' : ''}`;
        bars(box, title, these, (r) => r.messagesPerSecond, words);
      }
    }
    figures('All figures of many producers', 'ring-fan-in', [
      ['producers', (r) => r.producers],
      ['messages/s', (r) => r.messagesPerSecond],
      ['to one', (r) => r.toOneProducer],
      ['Jain', (r) => r.jainFairness],
    ]);
  }

  main.append(element('h2', {}, 'Machine and peers'));
  const list = element('dl');
  const facts = {
    Processor: `${machine.cpu}, ${machine.cores} cores, ${machine.arch}`,
    Memory: `${machine.memoryGib} GiB`,
    Kernel: machine.kernel,
    'Node.js': machine.node,
    'onepiece-rdma': report.version,
    Command: report.command,
    ...report.peers,
  };
  for (const [name, value] of Object.entries(facts)) list.append(element('dt', {}, name), element('dd', {}, value));
  main.append(element('div', { class: 'card' }, list));

  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    for (const chart of charts) chart.redraw();
  });
  document.documentElement.dataset.drawn = String(charts.length);
})();
