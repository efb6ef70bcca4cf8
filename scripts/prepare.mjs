// What npm runs after it has installed into a checkout, and in the clone that it makes of a git dependency: the addon,
// the library, and the command in node_modules/.bin. The addon goes into prebuilds/ too, which is what npm packs.
//
// Invariant: after `npm ci` in a checkout `npx onepiece` runs this checkout, and nothing here needs the network.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

function run(script) {
  const result = spawnSync(process.execPath, [path.join(root, 'scripts', script)], { cwd: root, stdio: 'inherit' });
  if (result.status !== 0) {
    console.error(`prepare: ${script} failed; to install without building: npm ci --ignore-scripts`);
    process.exit(1);
  }
}

/** npm links the commands of dependencies, never those of the package itself. */
function linkCommands() {
  const { bin } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
  const directory = path.join(root, 'node_modules/.bin');
  fs.mkdirSync(directory, { recursive: true });
  for (const [name, file] of Object.entries(bin)) {
    const scratch = path.join(directory, `.${name}.${process.pid}`);
    fs.symlinkSync(path.relative(directory, path.join(root, file)), scratch);
    fs.renameSync(scratch, path.join(directory, name));
  }
}

run('prebuild.mjs');
run('build-ts.mjs');
linkCommands();
