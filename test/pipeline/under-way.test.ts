// Proves how requests get numbers and attempts, how a report or a result finds its request, and what waits for what.
import t from 'tap';
import type { AdmittedRequest } from '../../src/ts/pipeline/admission.js';
import type { Ticket } from '../../src/ts/pipeline/ticket.js';
import { UnderWay } from '../../src/ts/pipeline/under-way.js';

const RUN = 7;
type Known = Pick<Ticket, 'number' | 'attempt' | 'admitted' | 'over'>;
const newTicket = () => {
  const known: Known = { number: 0, attempt: 0, admitted: undefined, over: false };
  return known as Ticket;
};
const under = (number: number) => ({ plan: { number } }) as AdmittedRequest;

// One that has been sent.
function begun(underWay: UnderWay, plan = 1): Ticket {
  const ticket = newTicket();
  underWay.begin(ticket);
  ticket.admitted = under(plan);
  return ticket;
}

void t.test('numbers count up, and the oldest open one is known', async (t) => {
  const underWay = new UnderWay(0, RUN);
  t.equal(underWay.oldest, 1, 'the next one');
  const [first, second, third] = [begun(underWay), begun(underWay), begun(underWay)];
  t.same([first.number, second.number, third.number], [1, 2, 3]);
  underWay.end(second);
  t.equal(underWay.oldest, 1);
  underWay.end(first);
  t.equal(underWay.oldest, 3);
  underWay.end(third);
  t.equal(underWay.oldest, 4);
  t.same([underWay.size, underWay.inFlight], [0, 0]);
});

void t.test('a number that was not sent is given to the next one, and one that was sent stays', async (t) => {
  const underWay = new UnderWay(0, RUN);
  const unsent = newTicket();
  underWay.begin(unsent);
  underWay.undo(unsent);
  t.match(unsent, { number: 0, attempt: 0 });
  t.equal(underWay.size, 0);
  const sent = begun(underWay);
  t.match(sent, { number: 1, attempt: 1 });
  sent.admitted = undefined;
  underWay.waitAgain(1);
  t.same([underWay.size, underWay.inFlight], [1, 0]);
  underWay.begin(sent);
  underWay.undo(sent);
  t.match(sent, { number: 1, attempt: 1 });
  t.same([underWay.size, underWay.inFlight], [1, 0]);
  t.equal(begun(underWay).number, 2);
  underWay.begin(sent);
  t.match(sent, { number: 1, attempt: 2 });
  t.equal(underWay.inFlight, 2);
});

void t.test('one that ends while it waits again is not counted in places', async (t) => {
  const underWay = new UnderWay(0, RUN);
  const ticket = begun(underWay);
  ticket.admitted = undefined;
  underWay.waitAgain(1);
  underWay.end(ticket);
  underWay.end(ticket);
  underWay.end(newTicket());
  t.same([underWay.size, underWay.inFlight], [0, 0]);
});

void t.test('only the newest attempt of this run is found', async (t) => {
  const underWay = new UnderWay(3, RUN);
  const ticket = begun(underWay);
  const request = { gateway: 3, gatewayRun: RUN, ticket: 1, attempt: 1 };
  t.equal(underWay.find(RUN, 1, 1), ticket);
  t.equal(underWay.findAttempt(request), ticket);
  t.equal(underWay.find(RUN - 1, 1, 1), undefined);
  t.equal(underWay.find(RUN, 2, 1), undefined);
  t.equal(underWay.findAttempt({ ...request, gateway: 2 }), undefined);
  t.equal(underWay.hasEnded(RUN, 1, 1), false);
  t.equal(underWay.hasEnded(RUN - 1, 1, 1), true);
  ticket.admitted = undefined;
  underWay.waitAgain(1);
  t.equal(underWay.find(RUN, 1, 1), ticket, 'a late result of it counts');
  t.equal(underWay.findAttempt(request), undefined);
  t.equal(underWay.hasEnded(RUN, 1, 1), true, 'nothing more is sent for it');
  underWay.begin(ticket);
  ticket.admitted = under(2);
  t.equal(underWay.find(RUN, 1, 1), undefined);
  t.equal(underWay.hasEnded(RUN, 1, 1), true);
  t.equal(underWay.hasEnded(RUN, 1, 2), false);
  ticket.over = true;
  t.equal(underWay.find(RUN, 1, 2), undefined);
});

void t.test('whoever waits for fewer hears of it when requests leave their places, and not before', async (t) => {
  const underWay = new UnderWay(0, RUN);
  const [first, second] = [begun(underWay, 1), begun(underWay, 2)];
  t.same([underWay.countUnder(1), underWay.countUnder(2)], [1, 1]);
  let woken = 0;
  const wait = () => void underWay.fewer().then(() => woken++);
  const turn = () => new Promise(setImmediate);
  wait();
  await turn();
  t.equal(woken, 0);
  first.admitted = undefined;
  underWay.waitAgain(1);
  await turn();
  t.equal(woken, 1);
  t.equal(underWay.countUnder(1), 0);
  wait();
  underWay.end(second);
  underWay.wake();
  await turn();
  t.equal(woken, 2);
  wait();
  underWay.clear();
  await turn();
  t.equal(woken, 3);
  t.same([underWay.size, underWay.inFlight, underWay.list().length], [0, 0, 0]);
});
