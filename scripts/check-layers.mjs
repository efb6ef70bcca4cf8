// The floors of src/native. Invariant: soft/, verbs/ and rdmacm/ know only the headers of src/native and themselves,
// never each other and never Node.js; addon/ includes those headers alone, so a device can be added without touching
// it.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const base = path.join(root, 'src/native');
const nodeHeaders =
  /^(napi|napi-inl|node|node_api|node_api_types|js_native_api|js_native_api_types|node_version|uv|v8)(-.*)?\.h$/;

/** Which folders of src/native the files of a folder may include from; '' is src/native itself. */
const allowed = { '': [''], soft: ['', 'soft'], verbs: ['', 'verbs'], rdmacm: ['', 'rdmacm'], addon: ['', 'addon'] };
const withoutNode = ['', 'soft', 'verbs', 'rdmacm'];

const problems = [];
const files = fs
  .readdirSync(base, { recursive: true })
  .filter((name) => /\.(cc|h)$/.test(name))
  .sort();

for (const file of files) {
  const folder = file.includes('/') ? file.split('/')[0] : '';
  const lines = fs.readFileSync(path.join(base, file), 'utf8').split('\n');
  if (!(folder in allowed)) problems.push(`src/native/${file}: the folder "${folder}" is no known floor`);
  for (const [i, line] of lines.entries()) {
    const match = /^\s*#\s*(?:include|import)\s*([<"])([^>"]+)[>"]/.exec(line);
    if (!match) continue;
    const [, quote, name] = match;
    const say = (why) => problems.push(`src/native/${file}:${i + 1}: includes ${name}: ${why}`);
    if (withoutNode.includes(folder) && nodeHeaders.test(path.basename(name))) {
      say('only src/native/addon knows Node.js');
      continue;
    }
    const target = path.normalize(path.join(path.dirname(file), name));
    if (!fs.existsSync(path.join(base, target))) {
      if (fs.existsSync(path.join(base, name))) say('write own headers in quotes, relative to the file');
      else if (quote === '"') say('no such file in src/native');
      continue;
    }
    if (target.startsWith('..')) {
      say('it is outside src/native');
      continue;
    }
    const floor = target.includes('/') ? target.split('/')[0] : '';
    if (!allowed[folder]?.includes(floor)) {
      say(
        `src/native/${folder} may include only from ${(allowed[folder] ?? []).map((to) => to || 'src/native').join(', ')}`,
      );
    }
  }
}

for (const problem of problems) console.error(problem);
console.log(`layers: ${files.length} C++ files, ${problems.length} violations`);
process.exitCode = problems.length > 0 || files.length === 0 ? 1 : 0;
