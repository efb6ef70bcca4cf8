// Proves that the published types show nothing internal: no declaration that is reachable from an entry point of
// package.json is marked `@internal`, and none refers to one that the build has left out.
import fs from 'node:fs';
import path from 'node:path';
import t from 'tap';
import ts from 'typescript';
import { findRoot } from './root.js';

const root = findRoot();
const { exports: subpaths } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, string | Record<'import' | 'require', { types: string }>>;
};
const entryPoints = Object.values(subpaths)
  .flatMap((target) => (typeof target === 'string' ? [] : [target.import.types, target.require.types]))
  .map((name) => path.join(root, name));

/** A program as a stranger has it, but one that checks the types of the package too. */
function programOf(files: readonly string[]): ts.Program {
  return ts.createProgram(files, {
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    types: ['node'],
  });
}

/** Those of its files that are ours. */
function filesOf(program: ts.Program): ts.SourceFile[] {
  program.getTypeChecker(); // binds: nodes know their parents then, and their comments
  return program.getSourceFiles().filter((file) => !file.fileName.includes('/node_modules/') && file.isDeclarationFile);
}

/** Declarations of a file that are marked `@internal`, by their text. */
function internalsOf(file: ts.SourceFile): string[] {
  const found: string[] = [];
  const visit = (node: ts.Node) => {
    const isMarked = ts.getJSDocTags(node).some(({ tagName }) => tagName.text === 'internal');
    if (isMarked) found.push(`${path.relative(root, file.fileName)}: ${node.getText(file).split('\n')[0]}`);
    else ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

void t.test('no published declaration is marked as internal', async (t) => {
  const files = filesOf(programOf(entryPoints));
  t.ok(files.length >= 100, `${files.length} files are reachable`);
  t.same(files.flatMap(internalsOf), []);
});

void t.test('no published declaration refers to one that was left out', async (t) => {
  const program = programOf(entryPoints);
  const found = filesOf(program).flatMap((file) => [
    ...program.getSyntacticDiagnostics(file),
    ...program.getSemanticDiagnostics(file),
  ]);
  const words = found.map(({ file, start = 0, messageText }) => {
    const { line } = file!.getLineAndCharacterOfPosition(start);
    const name = path.relative(root, file!.fileName);
    return `${name}:${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
  });
  t.same(words, []);
});

void t.test('a misspelled error code does not compile, neither made nor compared', async (t) => {
  const lines = [
    "import { type ErrorCode, isRdmaError, RdmaError } from 'onepiece-rdma/verbs';",
    "export const made = [new RdmaError('RDMA_ERR_CLOSED', ''), new RdmaError('ENOMEM', '')];",
    "export const typo = new RdmaError('RDMA_ERR_CLOSD', '');",
    "export const isBusy = (error: unknown) => isRdmaError(error) && error.code === 'RDMA_ERR_BUSY';",
    "export const isBsy = (error: unknown) => isRdmaError(error) && error.code === 'RDMA_ERR_BSY';",
    "export const named: ErrorCode[] = ['RDMA_ERR_TIMEOUT', 'RDMA_ERR_TIME_OUT'];",
  ];
  const file = path.join(t.testdir({ 'codes.mts': lines.join('\n') }), 'codes.mts');
  const program = programOf([file]);
  const source = program.getSourceFile(file)!;
  const found = program
    .getSemanticDiagnostics(source)
    .map(({ start = 0 }) => source.getLineAndCharacterOfPosition(start).line);
  t.same(found, [2, 4, 5]);
});

void t.test('an internal member that is published would be found', async (t) => {
  const folder = t.testdir({
    'index.d.ts':
      "import { Hidden } from './hidden.js';\nexport declare class Inbox implements Hidden {\n  poll(): void;\n}\n",
    'hidden.d.ts': '/** @internal As poll(). */\nexport interface Hidden {\n  poll(): void;\n}\n',
  });
  const files = filesOf(programOf([path.join(folder, 'index.d.ts')]));
  t.equal(files.length, 2);
  t.match(files.flatMap(internalsOf), [/hidden\.d\.ts: export interface Hidden \{$/]);
});
