// Proves that the OpenAPI document and the server say the same: the routes, what they take and what they answer.
import Ajv from 'ajv/dist/2020';
import t from 'tap';
import type { FastifyInstance } from '../../src/ts/serve/fastify.js';
import { jsonRequest, part, serving } from './support.js';

interface Operation {
  operationId: string;
  parameters?: { name: string; in: string; required: boolean }[];
  requestBody?: object;
  responses: Record<string, { content?: Record<string, { schema: object }> }>;
}

void t.test('the document', async (t) => {
  const routes: string[] = [];
  const watch = (app: FastifyInstance) => {
    // The tree of all routes: a line is indented by four for each line that it hangs from.
    const path: string[] = [];
    for (const line of app.printRoutes({ commonPrefix: false, includeHooks: false }).split('\n')) {
      const match = /^([ │]*)(?:├── |└── )(\S*)(?: \(([A-Z, ]+)\))?$/.exec(line);
      if (match === null) continue;
      path.splice(match[1]!.length / 4, path.length, match[2]!);
      for (const method of match[3]?.split(', ') ?? []) routes.push(`${method} ${path.join('')}`);
    }
  };
  const { ask } = await serving(t, { routes: watch });
  const document = (await ask('/openapi.json')).json();
  const ajv = new Ajv({ strict: false });
  ajv.addSchema({ $id: 'doc', components: document.components });
  const validate = (schema: object, value: unknown) => {
    const text = JSON.stringify(schema).replaceAll('#/components', 'doc#/components');
    const check = ajv.compile(JSON.parse(text));
    return check(value) ? undefined : ajv.errorsText(check.errors);
  };

  await t.test('it has every route, and no other', async (t) => {
    t.match(document, { openapi: '3.1.1', info: { title: 'onepiece: small', version: '1.2.3' } });
    const documented = Object.entries<Record<string, Operation>>(document.paths).flatMap(([path, item]) =>
      Object.keys(item).map((method) => `${method.toUpperCase()} ${path.replace(/\{([a-z]+)\}/g, ':$1')}`),
    );
    t.strictSame([...documented].sort(), routes.filter((route) => !route.startsWith('HEAD ')).sort());
    const ids = Object.values<Record<string, Operation>>(document.paths).flatMap((item) =>
      Object.values(item).map(({ operationId }) => operationId),
    );
    t.equal(new Set(ids).size, ids.length);
  });

  await t.test('answers match the document', async (t) => {
    const submitted = await ask('/v1/jobs', jsonRequest({}, { x: part('u8', [1], Uint8Array.of(1)) }));
    const { id } = submitted.json();
    await ask(`/v1/jobs/${id}/result?waitMs=30000`);
    const failed = (await ask('/v1/jobs', jsonRequest({ act: 'throw' }))).json().id;
    await ask(`/v1/jobs/${failed}/result?waitMs=30000`);
    const slow = (await ask('/v1/jobs', jsonRequest({ act: 'wait', ms: 600_000 }))).json().id;
    const cases: [string, string, string, RequestInit?][] = [
      ['post', '/v1/jobs', '/v1/jobs', jsonRequest({})],
      ['get', '/v1/jobs', '/v1/jobs'],
      ['get', '/v1/jobs', '/v1/jobs?limit=x'],
      ['get', '/v1/jobs/{id}', `/v1/jobs/${id}`],
      ['get', '/v1/jobs/{id}', `/v1/jobs/${failed}`],
      ['get', '/v1/jobs/{id}', '/v1/jobs/none'],
      ['get', '/v1/jobs/{id}/result', `/v1/jobs/${id}/result`],
      ['get', '/v1/jobs/{id}/result', `/v1/jobs/${slow}/result`],
      ['get', '/v1/jobs/{id}/result', `/v1/jobs/${failed}/result`],
      ['delete', '/v1/jobs/{id}', `/v1/jobs/${slow}`, { method: 'DELETE' }],
      ['post', '/v1/run', '/v1/run', jsonRequest({})],
      ['get', '/v1/workflow', '/v1/workflow'],
      ['get', '/livez', '/livez'],
      ['get', '/readyz', '/readyz'],
    ];
    for (const [method, path, url, init] of cases) {
      const answer = await ask(url, init);
      const operation: Operation = document.paths[path][method];
      const type = answer.headers.get('content-type')!.split(';')[0]!;
      const schema = operation.responses[answer.status]?.content?.[type]?.schema;
      t.ok(schema, `${method} ${url}: ${answer.status} ${type} is documented`);
      if (schema !== undefined)
        t.equal(validate(schema, answer.json()), undefined, `${method} ${url}: ${answer.status}`);
    }
  });

  await t.test('the page shows every route, and runs nothing', async (t) => {
    const page = await ask('/docs');
    t.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
    t.match(page.headers.get('content-security-policy'), /default-src 'none'; style-src 'sha256-/);
    const html = page.body.toString();
    for (const path of Object.keys(document.paths)) t.ok(html.includes(`<code>${path}</code>`), path);
    t.notMatch(html, /<script|(src|href)="http/);
  });
});
