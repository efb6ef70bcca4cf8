// The demo's page. Everything that comes from the server is shown as text.
(() => {
  'use strict';
  const $ = (id) => document.getElementById(id);
  const MAX_BYTES = 32 * 2 ** 20;
  const RECONNECTS = 20;
  let file;
  let previewUrl;
  let clipUrl;
  let job; // its URL, while there is one
  const rows = new Map();

  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  function say(words, isBad = false) {
    $('message').textContent = words;
    $('message').className = isBad ? 'bad' : '';
  }

  function choose(chosen) {
    if (chosen === undefined) return;
    if (!/^image\/(jpeg|png|webp)$/.test(chosen.type)) return say(`${chosen.name} is no JPEG, PNG or WebP.`, true);
    if (chosen.size > MAX_BYTES) return say(`${chosen.name} is larger than 32 MiB.`, true);
    file = chosen;
    if (previewUrl !== undefined) URL.revokeObjectURL(previewUrl);
    previewUrl = URL.createObjectURL(chosen);
    $('preview').src = previewUrl;
    $('preview').alt = `The picture ${chosen.name}`;
    $('preview').hidden = false;
    $('drop-words').textContent = `${chosen.name}: drop or choose another`;
    say('');
  }

  function row(stage) {
    const item = document.createElement('li');
    const name = document.createElement('span');
    const bar = document.createElement('progress');
    const state = document.createElement('span');
    name.className = 'name';
    name.textContent = stage;
    bar.max = 1;
    bar.value = 0;
    bar.setAttribute('aria-label', stage);
    state.className = 'state';
    item.append(name, bar, state);
    $('stages').append(item);
    rows.set(stage, { item, bar, state, parts: new Map(), begun: 0 });
  }

  function paint(stage, kind, words, value) {
    const found = rows.get(stage);
    if (found === undefined) return;
    found.item.className = kind;
    found.state.textContent = words;
    found.bar.value = value;
  }

  function clear() {
    for (const [stage, found] of rows) {
      found.parts.clear();
      found.begun = 0;
      paint(stage, '', 'waiting', 0);
    }
  }

  // Instances of a stage share its bar.
  function progress(event, done) {
    const found = rows.get(event.stage);
    if (found === undefined) return;
    if (found.begun === 0) found.begun = event.atMs;
    found.parts.set(event.instance, done);
    const shares = [...found.parts.values()];
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    const isDone = mean >= 1 && event.type === 'task-done';
    const words = isDone ? `${((event.atMs - found.begun) / 1000).toFixed(2)} s` : `${Math.round(mean * 100)} %`;
    paint(event.stage, isDone ? 'done' : 'running', words, mean);
  }

  function onEvent(event) {
    switch (event.type) {
      case 'queued':
        say('Waiting for room.');
        break;
      case 'started':
        say('Under way.');
        break;
      case 'task':
        progress(event, 0);
        break;
      case 'progress':
        progress(event, event.done);
        break;
      case 'task-done':
        progress(event, 1);
    }
  }

  // Server-sent events by fetch, which says what an error is, where EventSource does not.
  async function follow(url) {
    let last = 0;
    for (let i = 0; i < RECONNECTS; i++) {
      const response = await fetch(`${url}/events`, { headers: last > 0 ? { 'Last-Event-ID': String(last) } : {} });
      if (response.status === 204) return;
      if (!response.ok) throw await problem(response);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      try {
        for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
          const blocks = (text + chunk.value).split('\n\n');
          text = blocks.pop();
          for (const block of blocks) {
            const data = /^data: (.*)$/m.exec(block);
            if (data === null || /^event: error$/m.test(block)) continue;
            const event = JSON.parse(data[1]);
            last = event.number;
            onEvent(event);
            if (event.type === 'done' || event.type === 'failed' || event.type === 'cancelled') return;
          }
        }
      } catch {
        say('The connection was lost; trying again.');
      }
      await sleep(Math.min(5000, 250 * 2 ** i));
    }
    throw new Error('The connection was lost too often.');
  }

  async function problem(response) {
    let words = `The server answered ${response.status}.`;
    try {
      const { detail, remedy, code } = await response.json();
      words = `${detail}${remedy === undefined ? '' : ` (${remedy})`} [${code}]`;
    } catch {
      // It is not from this server.
    }
    const error = new Error(words);
    error.retryAfterS = Number(response.headers.get('retry-after') ?? 0);
    return error;
  }

  async function make() {
    if (file === undefined) {
      say('Choose a picture first.', true);
      $('picture').focus();
      return;
    }
    if (!$('order').checkValidity()) {
      const wrong = $('order').querySelector(':invalid');
      say(`${wrong.labels[0].textContent.trim()}: ${wrong.validationMessage}`, true);
      wrong.focus();
      return;
    }
    const order = { prompt: $('prompt').value };
    for (const name of ['frames', 'steps', 'size', 'seed']) order[name] = Number($(name).value);
    const form = new FormData();
    form.append('picture', file, file.name);
    form.append('meta', JSON.stringify(order));
    busy(true);
    clear();
    $('result').hidden = true;
    say('Sending the picture.');
    try {
      const begun = performance.now();
      const response = await fetch('/v1/jobs', { method: 'POST', body: form });
      if (!response.ok) throw await problem(response);
      job = (await response.json()).links.self;
      $('cancel').disabled = false;
      await follow(job);
      await show(order, performance.now() - begun);
    } catch (error) {
      const later = error.retryAfterS > 0 ? ` Try again in ${error.retryAfterS} s.` : '';
      say(`${error.message}${later}`, true);
      for (const [stage, { item }] of rows) if (item.className === 'running') paint(stage, 'failed', 'ended', 0);
    } finally {
      job = undefined;
      busy(false);
    }
  }

  async function show(order, ms) {
    const answer = await fetch(`${job}/result/assemble/clip?waitMs=10000`);
    if (answer.status !== 200) throw await problem(answer);
    const clip = await answer.blob();
    if (clipUrl !== undefined) URL.revokeObjectURL(clipUrl);
    clipUrl = URL.createObjectURL(clip);
    $('clip').src = clipUrl;
    $('clip').alt = `A clip of ${order.frames} frames: ${order.prompt || 'no prompt'}`;
    $('caption').textContent =
      `${order.frames} frames, ${(clip.size / 1024).toFixed(0)} KiB, ${(ms / 1000).toFixed(1)} s`;
    $('save').href = clipUrl;
    for (const [stage, { item }] of rows) if (item.className !== 'done') paint(stage, 'done', 'done', 1);
    await $('clip')
      .decode()
      .catch(() => {});
    $('result').hidden = false;
    say('Done.');
    $('result-title').focus();
  }

  function busy(isBusy) {
    $('make').disabled = isBusy;
    $('cancel').disabled = true;
    $('order').setAttribute('aria-busy', String(isBusy));
  }

  async function cancel() {
    if (job === undefined) return;
    $('cancel').disabled = true;
    say('Cancelling.');
    const response = await fetch(job, { method: 'DELETE' });
    if (!response.ok) say((await problem(response)).message, true);
  }

  async function begin() {
    const response = await fetch('/v1/workflow');
    if (!response.ok) throw await problem(response);
    for (const { name } of (await response.json()).stages) row(name);
    clear();
    document.documentElement.dataset.ready = 'true';
  }

  const drop = $('drop');
  drop.addEventListener('dragover', (event) => {
    event.preventDefault();
    drop.classList.add('over');
  });
  drop.addEventListener('dragleave', () => drop.classList.remove('over'));
  drop.addEventListener('drop', (event) => {
    event.preventDefault();
    drop.classList.remove('over');
    choose(event.dataTransfer.files[0]);
  });
  $('picture').addEventListener('change', (event) => choose(event.target.files[0]));
  $('order').addEventListener('submit', (event) => {
    event.preventDefault();
    if (!$('make').disabled) make();
  });
  $('cancel').addEventListener('click', () => cancel().catch((error) => say(error.message, true)));
  begin().catch((error) => say(error.message, true));
})();
