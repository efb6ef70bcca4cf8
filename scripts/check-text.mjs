// `node scripts/check-text.mjs`: finds comments wider than 120 columns, and names of files in comments that do not
// exist. `npm run lint` does not call it yet: older comments are still too wide.
//
// Invariant: a file counts as existing if the checkout has one whose path ends so, whatever its suffix was compiled to.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const maxColumns = 120;
const commentOf = {
  '.ts': /^\s*(\/\/|\/?\*)|\s\/\/ /,
  '.mjs': /^\s*(\/\/|\/?\*)|\s\/\/ /,
  '.cc': /^\s*(\/\/|\/?\*)|\s\/\/ /,
  '.h': /^\s*(\/\/|\/?\*)|\s\/\/ /,
  '.py': /^\s*#/,
};
/** A name in a comment that looks like a file of this project. */
const named = /(?<![\w./:@$`*<{-])((?:[\w-]+\/)*[a-z][\w-]*\.(?:ts|mjs|cc|h|py|md))(?![\w(])/g;
/** Files of others that comments may name: system headers, Node.js, people's own modules. */
const foreign =
  /^(?:uv|cuda|errno|lmdb|verbs|rdma_cma|mlx5dv|gdrapi|infiniband\/\w+|rdma\/\w+|sys\/\w+|linux\/\w+|\w+api)\.h$/;

const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\0')
  .filter((name) => name !== '' && fs.existsSync(path.join(root, name)));
const endings = new Set(files.flatMap((name) => name.split('/').map((_, i, parts) => parts.slice(i).join('/'))));

const problems = [];
for (const name of files) {
  const suffix = path.extname(name);
  const comment = commentOf[suffix];
  if (comment === undefined) continue;
  const lines = fs.readFileSync(path.join(root, name), 'utf8').split('\n');
  for (const [i, line] of lines.entries()) {
    const at = line.search(comment);
    if (at < 0) continue;
    const columns = [...line].length;
    // A drawing, such as a layout, is as wide as it is.
    const isDrawn = / {3,}\S/.test(line.trim());
    if (columns > maxColumns && !isDrawn)
      problems.push(`${name}:${i + 1}: ${columns} columns, ${maxColumns} are allowed`);
    for (const [, file] of line.slice(at).matchAll(named)) {
      const isThere = endings.has(file) || endings.has(file.replace(/\.mjs$/, '.ts')) || foreign.test(file);
      if (!isThere) problems.push(`${name}:${i + 1}: there is no ${file}`);
    }
  }
}
for (const problem of problems) console.error(problem);
console.log(`text: ${files.length} files, ${problems.length} problems`);
if (problems.length > 0) process.exitCode = 1;
