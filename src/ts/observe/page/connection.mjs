// The snapshots of the server, as long as the page is open.
//
// Invariant: one connection at a time. One that ends, or says nothing for 20 seconds, is followed by another, each a
// little later, at most after 10 seconds; the page shows what happens. A token stays in this tab.
import { SseParser } from '../sse-parser.js';

const SILENT_MS = 20_000;
const DELAYS_MS = [500, 1000, 2000, 4000, 7000, 10_000];
const TOKEN = 'onepiece-token';

export class Connection {
  /** @param on { snapshot(s), state(name, words) } with the states connecting, live, waiting, refused */
  constructor(on) {
    this.on = on;
    this.failures = 0;
    this.control = new AbortController();
    void this.run();
  }

  setToken(token) {
    sessionStorage.setItem(TOKEN, token);
    this.wake?.();
  }

  async run() {
    for (;;) {
      let words = 'the server ended the connection';
      try {
        this.on.state('connecting', 'connecting');
        await this.read();
      } catch (error) {
        words = error.message;
        if (error.refused) {
          this.on.state('refused', error.message);
          await new Promise((resolve) => {
            this.wake = resolve;
          });
          continue;
        }
      }
      const delayMs = DELAYS_MS[Math.min(this.failures++, DELAYS_MS.length - 1)];
      await this.countDown(words, delayMs);
    }
  }

  async countDown(words, delayMs) {
    for (let left = delayMs; left > 0; left -= 1000) {
      this.on.state('waiting', `${words}; next try in ${Math.ceil(left / 1000)} s`);
      await new Promise((resolve) => setTimeout(resolve, Math.min(1000, left)));
    }
  }

  async read() {
    const control = new AbortController();
    const fail = () => control.abort(new Error('the server is silent'));
    let timer = setTimeout(fail, SILENT_MS);
    try {
      const token = sessionStorage.getItem(TOKEN);
      const headers = { accept: 'text/event-stream', ...(token === null ? {} : { authorization: `Bearer ${token}` }) };
      let response;
      try {
        response = await fetch('v1/status/events', { headers, signal: control.signal, cache: 'no-store' });
      } catch (error) {
        throw control.signal.aborted ? error : new Error('the server cannot be reached');
      }
      if (response.status === 401 || response.status === 403) {
        const words = token === null ? 'the server wants a token' : 'the server does not accept this token';
        throw Object.assign(new Error(words), { refused: true });
      }
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const parser = new SseParser();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(fail, SILENT_MS);
        for (const { event, data } of parser.push(value)) {
          if (event !== 'snapshot') continue;
          this.failures = 0;
          this.on.state('live', 'live');
          this.on.snapshot(JSON.parse(data));
        }
      }
    } catch (error) {
      if (error.refused || control.signal.aborted) throw error.refused ? error : control.signal.reason;
      throw error instanceof TypeError ? new Error('the connection was lost') : error;
    } finally {
      clearTimeout(timer);
      control.abort();
    }
  }
}
