// The dashboard as one page that needs nothing else.
//
// Invariant: it asks only the server that it came from. There is no data in it: it may be served to anybody, and asks
// for a token when its data wants one.
import { builtPart, type Page, singlePage } from './single-page.js';

/**
 * The dashboard.
 *
 * @returns HTML of about 150 KB that finds its data at `v1/status/events`, relative to itself
 * @throws RdmaError RDMA_ERR_NOT_SUPPORTED when the package was not built whole
 */
export function dashboardPage(): Page {
  return singlePage({
    title: 'onepiece',
    body: '<noscript><p>This page is drawn by its script.</p></noscript>',
    style: builtPart('observe', 'dashboard.css'),
    script: builtPart('observe', 'dashboard.js'),
    pictures: 'data:',
  });
}
