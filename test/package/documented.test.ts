// Proves that whoever imports the package finds a description at every symbol: of each entry point's exports, and of
// the public methods, accessors and properties of exported classes.
import path from 'node:path';
import t from 'tap';
import ts from 'typescript';
import { findRoot } from './root.js';

const root = findRoot();

/** Entry points below src/ts whose symbols are all described. */
const entryPoints = ['verbs', 'rdmacm', 'ring', 'pipeline', 'jobs', 'cluster', 'observe', 'serve'].map(
  (layer) => `${layer}/index.ts`,
);

const files = entryPoints.map((name) => path.join(root, 'src/ts', name));
const { config } = ts.readConfigFile(path.join(root, 'tsconfig.json'), (file) => ts.sys.readFile(file));
const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
const program = ts.createProgram(files, { ...options, noEmit: true });
const checker = program.getTypeChecker();

const isDescribed = (symbol: ts.Symbol) =>
  symbol.getDocumentationComment(checker).some(({ text }) => text.trim() !== '');
const isInternal = (symbol: ts.Symbol) => symbol.getJsDocTags(checker).some(({ name }) => name === 'internal');

function isPublic(symbol: ts.Symbol): boolean {
  const hidden = ts.ModifierFlags.Private | ts.ModifierFlags.Protected;
  return (
    !isInternal(symbol) &&
    (symbol.declarations ?? []).every(
      (declaration) =>
        (ts.getCombinedModifierFlags(declaration) & hidden) === 0 &&
        !(ts.getNameOfDeclaration(declaration)?.getText().startsWith('#') ?? false),
    )
  );
}

/** The members that a class of this package declares; those of Error and Object are described elsewhere. */
function membersOf(symbol: ts.Symbol): ts.Symbol[] {
  const instance = checker.getDeclaredTypeOfSymbol(symbol).getProperties();
  const statics = checker.getTypeOfSymbol(symbol).getProperties();
  return [...instance, ...statics].filter(
    (member) =>
      (member.declarations ?? []).some((one) => one.getSourceFile().fileName.startsWith(path.join(root, 'src/ts/'))) &&
      isPublic(member),
  );
}

/** Names of what has no description. */
function undescribed(file: string): { all: number; missing: string[] } {
  const module = checker.getSymbolAtLocation(program.getSourceFile(file)!)!;
  const missing: string[] = [];
  let all = 0;
  const look = (name: string, symbol: ts.Symbol) => {
    all++;
    if (!isDescribed(symbol)) missing.push(name);
  };
  for (const exported of checker.getExportsOfModule(module)) {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
    look(exported.name, symbol);
    if ((symbol.flags & ts.SymbolFlags.Class) === 0) continue;
    for (const member of membersOf(symbol)) look(`${exported.name}.${member.name}`, member);
  }
  return { all, missing };
}

for (const [i, name] of entryPoints.entries()) {
  void t.test(`every public symbol of ${name} has a description`, async (t) => {
    const { all, missing } = undescribed(files[i]!);
    t.ok(all >= 20, `${all} symbols`);
    t.same(missing, []);
  });
}
