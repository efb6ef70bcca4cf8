// What the routes of dashboards answer: a page in one file, and a problem document where there is nothing to show.
//
// Invariant: a page is never kept without asking again, says nothing of where its reader came from, and runs only what
// its policy allows. Nothing of Fastify is loaded here.
import type { FastifyReply } from 'fastify';
import { isRdmaError } from '../core/errors.js';
import type { Page } from './single-page.js';

/** Answers with a page. */
export function sendPage(reply: FastifyReply, { html, contentSecurityPolicy }: Page): FastifyReply {
  return reply
    .headers({
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': contentSecurityPolicy,
      'cache-control': 'no-cache',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
    })
    .send(html);
}

/** Answers that there is nothing to show now, and why. @throws what is no RdmaError */
export function sendUnavailable(reply: FastifyReply, error: unknown): FastifyReply {
  if (!isRdmaError(error)) throw error;
  return sendProblem(reply, 503, error.code, error.message);
}

/** RFC 9457. */
export function sendProblem(reply: FastifyReply, status: number, code: string, detail: string): FastifyReply {
  return reply
    .code(status)
    .header('content-type', 'application/problem+json')
    .send({ type: 'about:blank', title: 'Service Unavailable', status, code, detail });
}
