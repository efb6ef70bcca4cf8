// The last minutes as lines, drawn by uPlot.
//
// Invariant: a figure that is not known is a gap, never 0. Colours are the style sheet's, so a change between light and
// dark draws again. Five minutes are kept, whatever the page shows.
import uPlot from 'uplot';
import { element, setAttribute, setText } from './dom.mjs';

const KEPT = 300;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class Chart {
  /**
   * @param series { label, color, pick(snapshot) }; @param format a value in words; @param least the axis goes at least
   *   so far
   */
  constructor(title, series, format, least) {
    this.least = least;
    this.series = series;
    this.format = format;
    this.data = [[], ...series.map(() => [])];
    this.values = series.map(() => element('b'));
    const legend = series.map(({ label, color }, i) => {
      const swatch = element('span', { class: 'swatch', 'aria-hidden': 'true' });
      swatch.style.background = `var(${color})`;
      return element('span', { class: 'item' }, swatch, `${label} `, this.values[i]);
    });
    this.place = element('div', { class: 'plot', role: 'img' });
    this.title = title;
    this.node = element(
      'section',
      { class: 'card' },
      element('h3', {}, title),
      element('div', { class: 'legend' }, ...legend),
      this.place,
    );
    new ResizeObserver(() => this.fit()).observe(this.place);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  add(snapshot) {
    const [times] = this.data;
    if (times.at(-1) >= snapshot.atMs / 1000) return;
    times.push(snapshot.atMs / 1000);
    const words = [];
    for (const [i, { pick, label }] of this.series.entries()) {
      const value = pick(snapshot) ?? null;
      this.data[i + 1].push(value);
      const text = this.format(value);
      setText(this.values[i], text);
      words.push(`${label} ${text}`);
    }
    if (times.length > KEPT) for (const list of this.data) list.shift();
    setAttribute(this.place, 'aria-label', `${this.title} now: ${words.join(', ')}. The figures are in the tables.`);
    if (this.plot === undefined) this.draw();
    else this.plot.setData(this.data);
  }

  fit() {
    const width = this.place.clientWidth;
    if (width > 0) this.plot?.setSize({ width, height: 150 });
  }

  draw() {
    if (this.data[0].length === 0) return;
    this.plot?.destroy();
    const axis = {
      stroke: css('--quiet'),
      font: '11px system-ui',
      grid: { stroke: css('--grid'), width: 1 },
      ticks: { show: false },
    };
    const options = {
      width: Math.max(100, this.place.clientWidth),
      height: 150,
      legend: { show: false },
      cursor: { y: false, points: { size: 5 }, sync: { key: 'time' } },
      scales: {
        // A page that was just opened does not stretch three seconds over its width.
        x: { time: true, range: (_plot, from, to) => [Math.min(from, to - 60), to] },
        y: { range: (_plot, _from, to) => [0, Math.max(this.least, to * 1.15)] },
      },
      axes: [
        {
          ...axis,
          space: 70,
          size: 22,
          values: (_plot, ticks) => ticks.map((at) => new Date(at * 1000).toTimeString().slice(0, 8)),
        },
        { ...axis, space: 34, size: 58, values: (_plot, ticks) => ticks.map((value) => this.format(value)) },
      ],
      series: [
        {},
        ...this.series.map(({ label, color }) => ({ label, stroke: css(color), width: 1.5, points: { show: false } })),
      ],
      hooks: { setCursor: [(plot) => this.say(plot.cursor.idx)] },
    };
    this.plot = new uPlot(options, this.data, this.place);
  }

  // At the pointer, or now.
  say(index) {
    const at = index ?? this.data[0].length - 1;
    for (const [i, value] of this.values.entries()) setText(value, this.format(this.data[i + 1][at]));
  }
}
