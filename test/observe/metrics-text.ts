// The text format of Prometheus, as tests read it.
interface Parsed {
  types: Map<string, string>;
  values: Map<string, number>;
}

/** Reads the text format, strictly: what is not of it throws. */
export function parse(text: string): Parsed {
  const types = new Map<string, string>();
  const values = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('# HELP ') || line === '# EOF') continue;
    const type = /^# TYPE ([a-z_][a-z0-9_]*) (counter|gauge|histogram|summary)$/.exec(line);
    if (type !== null) {
      if (types.has(type[1]!)) throw new Error(`${type[1]} twice`);
      types.set(type[1]!, type[2]!);
      continue;
    }
    const value = /^([a-z_][a-z0-9_]*(?:\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})?) (\S+)$/.exec(line);
    if (value === null || values.has(value[1]!)) throw new Error(`no line of the format, or a second one: ${line}`);
    values.set(value[1]!, value[2] === '+Inf' ? Number.POSITIVE_INFINITY : Number(value[2]));
  }
  return { types, values };
}
