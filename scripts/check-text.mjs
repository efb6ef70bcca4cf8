// `node scripts/check-text.mjs [FOLDER...]`, part of `npm run lint`: finds comments and docs wider than 120 columns,
// names of files in comments that do not exist, and phrases that text-glossary.mjs lists.
//
// Invariant: a file counts as existing if the checkout has one whose path ends so, whatever its suffix was compiled to.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { avoided } from './text-glossary.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const maxColumns = 120;
const slashes = /^\s*(\/\/|\/?\*)|\s\/\/ /;
const commentOf = { '.ts': slashes, '.mjs': slashes, '.mts': slashes, '.cc': slashes, '.h': slashes, '.py': /^\s*#/ };
/** A name in a comment that looks like a file of this project. */
const named = /(?<![\w./:@$`*<{-])((?:[\w-]+\/)*[a-z][\w-]*\.(?:ts|mts|mjs|cc|h|py|md))(?![\w(])/g;
/** Files of others that comments may name: system headers, Node.js, people's own modules. */
const foreign =
  /^(?:uv|cuda|errno|lmdb|verbs|rdma_cma|mlx5dv|gdrapi|infiniband\/\w+|rdma\/\w+|sys\/\w+|linux\/\w+|\w+api)\.h$/;
/** The list itself. */
const quotes = /^scripts\/text-glossary\.mjs$/;

const only = process.argv.slice(2);
const all = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\0')
  .filter((name) => name !== '' && fs.existsSync(path.join(root, name)));
const endings = new Set(all.flatMap((name) => name.split('/').map((_, i, parts) => parts.slice(i).join('/'))));

/** The text of a line that belongs to a comment, a string or a page, without its marks. */
const bare = (line) => line.replace(/^\s*(?:\/\/|\/?\*+\/?|#+|>)?\s*/, '').replace(/\s*\*\/\s*$/, '');

/** Phrases that begin in a line; the next line is read too, as a phrase may go over its end. */
function* phrases(line, next) {
  const text = bare(line);
  const joined = `${text} ${bare(next ?? '')}`;
  for (const [phrase, advice] of avoided)
    for (const { 0: found, index } of joined.matchAll(phrase)) if (index < text.length) yield `"${found}": ${advice}`;
}

/** Too wide, in characters; a table or a drawing, such as a layout, is as wide as it is. */
function width(line) {
  const columns = [...line].length;
  return columns > maxColumns && !/ {3,}\S/.test(line.trim()) && !/^\s*\|/.test(line)
    ? `${columns} columns, ${maxColumns} are allowed`
    : undefined;
}

function* problemsOf(name, lines) {
  const comment = commentOf[path.extname(name)];
  let isCode = false; // between the fences of a page
  for (const [i, line] of lines.entries()) {
    const at = comment === undefined ? 0 : line.search(comment);
    if (comment === undefined && /^\s*```/.test(line)) isCode = !isCode;
    const wide = at < 0 || isCode ? undefined : width(line);
    if (wide !== undefined) yield `${i + 1}: ${wide}`;
    for (const problem of phrases(line, lines[i + 1])) yield `${i + 1}: ${problem}`;
    if (comment === undefined || at < 0) continue;
    for (const [, file] of line.slice(at).matchAll(named)) {
      const isThere = endings.has(file) || endings.has(file.replace(/\.mjs$/, '.ts')) || foreign.test(file);
      if (!isThere) yield `${i + 1}: there is no ${file}`;
    }
  }
}

let count = 0;
const files = all.filter((name) => path.extname(name) === '.md' || path.extname(name) in commentOf);
for (const name of files) {
  if (quotes.test(name) || (only.length > 0 && !only.some((folder) => name.startsWith(folder)))) continue;
  const lines = fs.readFileSync(path.join(root, name), 'utf8').split('\n');
  for (const problem of problemsOf(name, lines)) {
    console.error(`${name}:${problem}`);
    count += 1;
  }
}
console.log(`text: ${files.length} files, ${count} problems`);
if (count > 0) process.exitCode = 1;
