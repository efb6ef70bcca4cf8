// The ways in which people install the package, each in a project of its own.
//
// Invariant: each case installs the tarball or the repository that is given. Where nothing is to be compiled there is
// no compiler; scripts of packages may run as each package manager lets them.
import fs from 'node:fs';
import path from 'node:path';
import { CheckError, pathWithoutBuilders, pathWithoutCompilers, run, say } from './commands.mjs';
import { checkRefused, checkWorks, failure, installedFiles, makeProject } from './consumer.mjs';
import { manifest } from './manifest.mjs';

const QUIET = ['--prefer-offline', '--no-audit', '--no-fund'];
const LEAN = ['--omit=optional', ...QUIET];

function checkFiles(directory, files, how) {
  const installed = installedFiles(directory);
  const strange = installed.filter((name) => !files.includes(name));
  const missing = files.filter((name) => !installed.includes(name));
  if (strange.length + missing.length === 0) return;
  throw new CheckError(`${how}: made ${strange.join(', ') || 'nothing'}, lacks ${missing.join(', ') || 'nothing'}`);
}

export class Installs {
  /**
   * @param scratch an empty directory
   * @param packed {tarball, files}: what npm would publish
   * @param tools see tools.mjs
   */
  constructor(scratch, packed, tools) {
    Object.assign(this, { scratch, packed, tools });
    this.without = { PATH: pathWithoutCompilers(path.join(scratch, 'no-compiler')), PYTHON: '', npm_config_python: '' };
    this.compilerOnly = { ...this.without, PATH: pathWithoutBuilders(path.join(scratch, 'no-python')) };
  }

  project(name, settings) {
    return makeProject(path.join(this.scratch, name), settings);
  }

  /** `npm install TARBALL`, and then `npm ci` from the lockfile that this made, with and without a compiler. */
  npm() {
    const { tools, packed } = this;
    const directory = this.project('npm');
    run('npm', ['install', ...LEAN, packed.tarball], directory, this.without);
    checkFiles(directory, packed.files, 'npm install');
    checkWorks(directory);
    say('  npm install, without a compiler: works');
    for (const [name, [command, ...first]] of Object.entries(tools.npms)) {
      for (const [where, env] of Object.entries({ 'without a compiler': this.without, 'with a compiler': {} })) {
        fs.rmSync(path.join(directory, 'node_modules'), { recursive: true });
        run(command, [...first, 'ci', ...LEAN], directory, env);
        checkFiles(directory, packed.files, `npm ci (${name}, ${where})`);
        checkWorks(directory);
        say(`  npm ci by ${name}, ${where}: works, and nothing was compiled`);
      }
    }
    return directory;
  }

  /** The lines of Node.js that are supported, and the runtimes that are not, with the same installed package. */
  runtimes(directory) {
    for (const [version, node] of Object.entries(this.tools.nodes)) {
      checkWorks(directory, node);
      say(`  Node.js ${version}: works`);
    }
    for (const [name, command] of Object.entries(this.tools.others)) {
      checkRefused(directory, name, command);
      say(`  ${name}: refused in words`);
    }
  }

  pnpm() {
    const directory = this.project('pnpm');
    const [command, ...first] = this.tools.pnpm;
    run(command, [...first, 'add', '--no-optional', this.packed.tarball], directory, this.without);
    checkWorks(directory);
    fs.rmSync(path.join(directory, 'node_modules'), { recursive: true });
    run(command, [...first, 'install', '--frozen-lockfile', '--no-optional'], directory, this.without);
    checkWorks(directory);
    say('  pnpm add and pnpm install --frozen-lockfile, without a compiler: work');
  }

  yarn1() {
    const directory = this.project('yarn1');
    const [command, ...first] = this.tools.yarn1;
    run(command, [...first, 'add', '--ignore-optional', `file:${this.packed.tarball}`], directory, this.without);
    checkWorks(directory);
    fs.rmSync(path.join(directory, 'node_modules'), { recursive: true });
    // Not --frozen-lockfile: yarn 1 refuses that for every tarball that is a file.
    run(command, [...first, 'install', '--ignore-optional'], directory, this.without);
    checkWorks(directory);
    say('  yarn 1: add, and install from its lockfile, without a compiler: work');
  }

  yarn4() {
    for (const linker of ['node-modules', 'pnp']) {
      const directory = this.project(`yarn4-${linker}`);
      const [command, ...first] = this.tools.yarn4;
      const settings = { nodeLinker: linker, enableTelemetry: false, enableGlobalCache: false };
      fs.writeFileSync(path.join(directory, '.yarnrc.yml'), JSON.stringify(settings));
      fs.writeFileSync(path.join(directory, 'yarn.lock'), '');
      run(command, [...first, 'add', `${manifest.name}@file:${this.packed.tarball}`], directory, this.without);
      run(command, [...first, 'install', '--immutable'], directory, this.without);
      const options = linker === 'pnp' ? ['--require', './.pnp.cjs', '--loader', './.pnp.loader.mjs'] : [];
      checkWorks(directory, process.execPath, options);
      say(`  yarn 4, ${linker}, without a compiler: works`);
    }
  }

  /** `npm install git+file:...`: npm builds the package in a clone, with a compiler and no Python. */
  git(checkout) {
    const repository = path.join(this.scratch, 'repository.git');
    const git = (...args) =>
      run('git', ['-c', 'user.name=check', '-c', 'user.email=check@localhost', ...args], checkout);
    git('init', '--quiet');
    git('add', '--all');
    git('commit', '--quiet', '--message', 'the checkout');
    git('clone', '--quiet', '--bare', checkout, repository);
    const directory = this.project('git');
    // Without optimisation: it is the way that is tried, and the C++ takes most of the time.
    const env = { ...this.compilerOnly, CXXFLAGS: '-O0' };
    run('npm', ['install', ...LEAN, `git+file://${repository}`], directory, env);
    checkFiles(directory, this.packed.files, 'npm install of a repository');
    checkWorks(directory);
    say('  npm install of a git repository, with a compiler and without Python: works');
  }

  /** Where no prebuilt addon fits: the error names a command, which makes one, with a compiler and no Python. */
  build(directory) {
    const folder = path.join(directory, 'node_modules', manifest.name);
    fs.rmSync(path.join(folder, 'prebuilds'), { recursive: true });
    const words = failure(directory);
    const [, script] = /RDMA_ERR_NATIVE_MISSING: .*build it here: node (\S+);/.exec(words) ?? [];
    if (script === undefined) throw new CheckError(`without an addon the error names no remedy:\n${words}`);
    run(process.execPath, [script], directory, { ...this.compilerOnly, CXXFLAGS: '-O0' });
    checkWorks(directory);
    say('  without a prebuilt addon: the remedy of the error makes one, with a compiler and without Python');
  }
}
