// Elements, made and kept.
//
// Invariant: what is on the page stays the same element while it means the same thing: focus, selection and what a
// screen reader is at survive each second's update. Text that came from the server is never markup.

const SVG = 'http://www.w3.org/2000/svg';
const SVG_NAMES = new Set(['svg', 'g', 'path', 'rect', 'circle', 'text', 'tspan', 'title', 'line', 'defs', 'marker']);

/** Makes an element; attributes that are undefined or false are left out. */
export function element(name, attributes = {}, ...children) {
  const made = SVG_NAMES.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) made.setAttribute(key, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

/** An SVG link, which is not the one of HTML. */
export function svgLink(attributes) {
  const made = document.createElementNS(SVG, 'a');
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

/**
 * A table whose rows stay in place.
 *
 * @param columns { title, unit?, kind: 'word' | 'number' | 'node', wide? } of which `number` is right-aligned
 */
export class Table {
  constructor(caption, columns, empty, className) {
    this.columns = columns;
    this.rows = new Map();
    this.body = element('tbody');
    this.empty = element('p', { class: 'empty' }, empty);
    const heads = columns.map(({ title, kind = 'number', wide }) =>
      element('th', { scope: 'col', class: `${kind}${wide ? ' wide' : ''}` }, title),
    );
    this.table = element(
      'table',
      { class: className },
      element('caption', { class: 'unseen' }, caption),
      element('thead', {}, element('tr', {}, ...heads)),
      this.body,
    );
    // Wide tables move sideways by keys too.
    this.scroll = element('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption }, this.table);
    this.node = element('div', {}, this.scroll, this.empty);
  }

  /** @param list { key, cells, id?, className? } where a cell is text, or a node that stays the same for its row */
  update(list) {
    const seen = new Set();
    let before = null;
    for (const { key, cells, id, className } of list) {
      seen.add(key);
      let row = this.rows.get(key);
      if (row === undefined) {
        row = element('tr', { id, tabindex: id === undefined ? undefined : '-1' });
        for (const [i, { kind = 'number', wide }] of this.columns.entries()) {
          row.append(
            element(i === 0 ? 'th' : 'td', {
              class: `${kind}${wide ? ' wide' : ''}`,
              scope: i === 0 ? 'row' : undefined,
            }),
          );
        }
        this.rows.set(key, row);
      }
      setAttribute(row, 'class', className);
      for (const [i, cell] of cells.entries()) {
        const place = row.children[i];
        if (cell instanceof Node) {
          if (place.firstChild !== cell) place.replaceChildren(cell);
        } else setText(place, cell);
      }
      const wanted = before === null ? this.body.firstChild : before.nextSibling;
      if (wanted !== row) this.body.insertBefore(row, wanted);
      before = row;
    }
    for (const [key, row] of this.rows) {
      if (seen.has(key)) continue;
      row.remove();
      this.rows.delete(key);
    }
    this.scroll.hidden = list.length === 0;
    this.empty.hidden = list.length > 0;
  }

  cellNode(key, column) {
    return this.rows.get(key)?.children[column]?.firstChild ?? undefined;
  }
}
