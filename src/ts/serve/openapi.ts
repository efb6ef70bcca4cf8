// The OpenAPI document (version 3.1.1 of the specification), made of the routes.
//
// Invariant: it says what the routes say, as it is made from the same objects.
import { PROBLEM_TYPE, STATUS_TITLES } from './problem.js';
import { COMMON_PROBLEMS, REQUEST_CONTENT, ROUTES, type RouteSpec } from './routes.js';
import { PROBLEM, type Schema } from './schemas.js';

/** An OpenAPI document. */
export type OpenApiDocument = Record<string, unknown> & { paths: Record<string, Record<string, unknown>> };

/** What the document says of the server itself. */
export interface OpenApiAbout {
  workflow: string;
  version: string;
  /** Whether requests need a token. */
  hasTokens: boolean;
}

/** Makes the document. */
export function openApiDocument({ workflow, version, hasTokens }: OpenApiAbout): OpenApiDocument {
  const paths: OpenApiDocument['paths'] = {};
  for (const route of Object.values<RouteSpec>(ROUTES)) {
    const path = route.url.replace(/:([a-z]+)/g, '{$1}');
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, hasTokens) };
  }
  return {
    openapi: '3.1.1',
    info: { title: `onepiece: ${workflow}`, version, description: `Requests of the workflow ${workflow}, as jobs.` },
    paths,
    components: {
      schemas: { Problem: PROBLEM },
      ...(hasTokens ? { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } } : {}),
    },
    ...(hasTokens ? { security: [{ token: [] }] } : {}),
  };
}

function operation(route: RouteSpec, hasTokens: boolean): object {
  const parameters = [
    ...parametersOf(route.params, 'path'),
    ...parametersOf(route.query, 'query'),
    ...Object.entries(route.headers ?? {}).map(([name, description]) => ({
      name,
      in: 'header',
      description,
      schema: { type: 'string' },
    })),
  ];
  const content = Object.fromEntries(Object.entries(REQUEST_CONTENT).map(([type, schema]) => [type, { schema }]));
  return {
    operationId: route.id,
    summary: route.summary,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(route.takesRequest ? { requestBody: { required: true, content } } : {}),
    responses: responses(route),
    ...(route.isOpen && hasTokens ? { security: [] } : {}),
  };
}

function parametersOf(schema: Schema | undefined, where: 'path' | 'query'): object[] {
  const properties = (schema?.properties ?? {}) as Record<string, Schema>;
  return Object.entries(properties).map(([name, { description, ...form }]) => ({
    name,
    in: where,
    required: where === 'path',
    description,
    schema: form,
  }));
}

function responses(route: RouteSpec): Record<string, object> {
  const answers: Record<string, object> = {};
  for (const status of [...COMMON_PROBLEMS, ...route.problems]) {
    const content = { [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } };
    answers[status] = { description: STATUS_TITLES[status] ?? '', content };
  }
  for (const [status, { about, content, headers }] of Object.entries(route.answers)) {
    answers[status] = {
      description: about,
      ...(content === undefined ? {} : { content: mapValues(content, (schema) => ({ schema })) }),
      ...(headers === undefined
        ? {}
        : { headers: mapValues(headers, (description) => ({ description, schema: { type: 'string' } })) }),
    };
  }
  return answers;
}

function mapValues<V, R>(record: Readonly<Record<string, V>>, change: (value: V) => R): Record<string, R> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}
