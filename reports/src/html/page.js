'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const $ = (id) => document.getElementById(id);
  const ev = data.events;
  const N = ev.time.length;
  const KIND = {}; data.kinds.forEach((k, i) => { KIND[k] = i; });
  const text = (i) => data.texts[ev.text[i]];
  const name = (c) => data.contexts[c] ? data.contexts[c].name : '?';
  const secs = (ns) => (ns / 1e9).toFixed(9);
  const hex = (n) => '0x' + n.toString(16);
  // Asking the browser for a colour costs more than drawing with it.
  let colours = new Map();
  const css = (v) => { if (!colours.has(v)) colours.set(v, getComputedStyle(document.documentElement).getPropertyValue(v).trim()); return colours.get(v); };
  const found = []; for (let i = 0; i < N; i++) if (ev.kind[i] === KIND.found) found.push(i);
  let at = data.findings.length ? data.findings[0].event : Math.max(0, N - 1);
  let view = [Math.max(0, at - 150), Math.min(N, at + 30)];
  let onlyCtx = -1;

  // Spans of each context, made once: what is held, what is waited for, what is called.
  const lanes = data.contexts.map(() => ({ events: [], marks: [], locks: [], waits: [], calls: [], first: -1, last: -1 }));
  (() => {
    const held = new Map(), waits = new Map(), calls = data.contexts.map(() => []);
    for (let i = 0; i < N; i++) {
      const c = ev.ctx[i], lane = lanes[c]; if (!lane) continue;
      if (lane.first < 0) lane.first = i;
      lane.last = i; lane.events.push(i);
      if (ev.kind[i] === KIND.found || ev.kind[i] === KIND.injected) lane.marks.push(i);
      if (waits.has(c)) { lane.waits.push([waits.get(c), i]); waits.delete(c); }
      switch (ev.kind[i]) {
        case KIND.blocked: waits.set(c, i); break;
        case KIND.took: held.set(c + ' ' + text(i).replace(/^holds /, ''), i); break;
        case KIND.released: {
          const key = c + ' ' + text(i).replace(/^releases /, '');
          if (held.has(key)) { lane.locks.push([held.get(key), i, key.slice(key.indexOf(' ') + 1)]); held.delete(key); }
          break;
        }
        case KIND.enter: calls[c].push(i); break;
        case KIND.leave: { const from = calls[c].pop(); if (from !== undefined) lane.calls.push([from, i, calls[c].length]); break; }
      }
    }
    for (const [c, i] of waits) lanes[c].waits.push([i, N]);
    for (const [key, i] of held) lanes[+key.slice(0, key.indexOf(' '))].locks.push([i, N, key.slice(key.indexOf(' ') + 1)]);
    calls.forEach((open, c) => open.forEach((from, depth) => lanes[c].calls.push([from, N, depth])));
    for (const lane of lanes) for (const list of [lane.locks, lane.calls]) list.sort((a, b) => a[0] - b[0]);
  })();
  // Spans are in order of their beginning; where one can begin before the view and reach into it is known, too.
  for (const lane of lanes) for (const list of [lane.waits, lane.locks, lane.calls]) { let most = 0; list.ends = list.map((s) => most = Math.max(most, s[1])); }
  const visible = (list, a, b) => {
    let from = 0, to = list.length, last = list.length;
    while (from < to) { const m = (from + to) >> 1; if (list.ends[m] < a) from = m + 1; else to = m; }
    to = from;
    while (to < last) { const m = (to + last) >> 1; if (list[m][0] <= b) to = m + 1; else last = m; }
    return [from, to];
  };
  // Draws spans that are too narrow to be told apart once.
  const spans = (list, clip, draw) => {
    const [from, to] = visible(list, view[0], view[1]);
    let reached = -1;
    for (let k = from; k < to; k++) {
      if (list[k][1] < view[0]) continue;
      const [p, q] = clip(list[k][0], list[k][1]), end = Math.max(p + 1, q);
      if (end - reached < 1) continue;
      reached = end; draw(p, end - p);
    }
  };
  const lower = (list, x) => { let a = 0, b = list.length; while (a < b) { const m = (a + b) >> 1; if (list[m] < x) a = m + 1; else b = m; } return a; };

  // The timeline.
  const LANE = 26, HEAD = 22;
  const canvas = $('lanes');
  const fit = (canvas, height) => {
    const ratio = window.devicePixelRatio || 1, width = Math.max(200, canvas.parentElement.clientWidth - 2);
    const w = Math.round(width * ratio), h = Math.round(height * ratio), g = canvas.getContext('2d');
    if (canvas.width !== w || canvas.height !== h) { canvas.style.height = height + 'px'; canvas.width = w; canvas.height = h; }
    g.setTransform(ratio, 0, 0, ratio, 0, 0); g.clearRect(0, 0, width, height); g.lineWidth = 1; g.globalAlpha = 1; g.font = '12px system-ui, sans-serif'; g.textBaseline = 'middle';
    return [g, width];
  };
  const labelWidth = (width) => Math.min(170, width * 0.28);
  const shown = () => {
    const list = [];
    lanes.forEach((lane, c) => {
      if (lane.first < 0 || (onlyCtx >= 0 && c !== onlyCtx)) return;
      if (lane.first < view[1] && lane.last >= view[0] || c === ev.ctx[at]) list.push(c);
    });
    return list;
  };
  let drawn = [];
  function drawLanes() {
    drawn = shown();
    const height = HEAD + Math.max(1, drawn.length) * LANE + 4;
    const [g, width] = fit(canvas, height);
    const left = labelWidth(width), scale = (width - left) / Math.max(1, view[1] - view[0]);
    const x = (i) => left + (i - view[0]) * scale;
    const ink = css('--ink'), dim = css('--dim'), line = css('--line');
    g.fillStyle = dim;
    // As many digits as tell one from the next.
    const digits = ev.time[Math.min(N, view[1]) - 1] - ev.time[view[0]] < 1e5 ? 9 : 6;
    const ticks = Math.max(1, Math.floor((width - left) / 130));
    for (let k = 0; k < ticks; k++) {
      const i = Math.floor(view[0] + (view[1] - view[0]) * k / ticks);
      if (i < N) g.fillText((ev.time[i] / 1e9).toFixed(digits) + ' s', x(i) + 2, HEAD / 2);
    }
    drawn.forEach((c, row) => {
      const lane = lanes[c], y = HEAD + row * LANE, mid = y + LANE / 2;
      g.strokeStyle = line; g.beginPath(); g.moveTo(0, y + .5); g.lineTo(width, y + .5); g.stroke();
      g.save(); g.beginPath(); g.rect(0, y, left - 6, LANE); g.clip();
      g.fillStyle = c === ev.ctx[at] ? css('--accent') : ink;
      g.fillText(name(c) + (data.contexts[c].cpu === null ? '' : '  cpu' + data.contexts[c].cpu), 2, mid); g.restore();
      g.save(); g.beginPath(); g.rect(left, y, width - left, LANE); g.clip();
      const clip = (a, b) => [x(Math.max(a, view[0] - 1)), x(Math.min(b, view[1] + 1))];
      g.fillStyle = line;
      for (const [a, b] of [[lane.first, lane.last + 1]]) { const [p, q] = clip(a, b); if (q > p) g.fillRect(p, mid - 1, q - p, 2); }
      g.fillStyle = css('--wait');
      g.globalAlpha = .35; spans(lane.waits, clip, (p, w) => g.fillRect(p, mid - 5, w, 10)); g.globalAlpha = 1;
      g.fillStyle = css('--lock');
      spans(lane.locks, clip, (p, w) => g.fillRect(p, y + LANE - 6, w, 3));
      let from = lower(lane.events, view[0]), last = -10;
      for (; from < lane.events.length && lane.events[from] < view[1]; from++) {
        const i = lane.events[from], kind = ev.kind[i], p = x(i);
        if (kind === KIND.found || kind === KIND.injected) continue;
        if (p - last < 1) { from = Math.max(from, lower(lane.events, view[0] + (last + 1 - left) / scale) - 1); continue; }
        last = p;
        g.fillStyle = kind === KIND.step ? css('--step') : kind === KIND.log ? css('--accent') : dim;
        g.fillRect(p, mid - (kind === KIND.step ? 4 : 3), Math.max(1, Math.min(scale * .7, 5)), kind === KIND.step ? 8 : 6);
      }
      if (scale > 6) {
        g.fillStyle = dim; g.font = '10px ui-monospace, monospace';
        let free = -1;
        const [first, end] = visible(lane.calls, view[0], view[1]);
        for (const [a, b] of lane.calls.slice(first, end)) if (a >= view[0] && a < view[1] && (b - a) * scale > 46 && x(a) >= free) { free = x(a) + g.measureText(text(a)).width + 6; g.save(); g.beginPath(); g.rect(x(a), y, (b - a) * scale - 4, 10); g.clip(); g.fillText(text(a).replace(/^-> /, ''), x(a), y + 5); g.restore(); }
        g.font = '12px system-ui, sans-serif';
      }
      from = lower(lane.marks, view[0]);
      for (; from < lane.marks.length && lane.marks[from] < view[1]; from++) {
        const i = lane.marks[from], kind = ev.kind[i];
        if (kind === KIND.injected) { g.fillStyle = css('--inject'); g.beginPath(); g.moveTo(x(i), mid - 8); g.lineTo(x(i) + 5, mid); g.lineTo(x(i) - 5, mid); g.fill(); }
        if (kind === KIND.found) { g.fillStyle = css('--bad'); g.fillRect(x(i) - 1, y + 1, Math.max(3, scale), LANE - 2); }
      }
      g.restore();
    });
    g.strokeStyle = css('--accent'); g.lineWidth = 1.5; g.beginPath(); g.moveTo(x(at + .5), 0); g.lineTo(x(at + .5), height); g.stroke(); g.lineWidth = 1;
  }
  const eventAt = (offsetX, offsetY) => {
    const width = canvas.clientWidth, left = labelWidth(width);
    let i = Math.floor(view[0] + (offsetX - left) / (width - left) * (view[1] - view[0]));
    const c = drawn[Math.floor((offsetY - HEAD) / LANE)];
    if (c !== undefined) { const list = lanes[c].events, k = lower(list, i), a = list[k], b = list[k - 1]; i = a === undefined ? b : b === undefined || a - i <= i - b ? a : b; }
    return Math.max(0, Math.min(N - 1, i === undefined ? at : i));
  };
  let drag = null;
  canvas.addEventListener('pointerdown', (e) => { drag = { x: e.offsetX, view: view.slice(), moved: false }; canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener('pointermove', (e) => {
    if (!drag) return;
    const per = (drag.view[1] - drag.view[0]) / (canvas.clientWidth - labelWidth(canvas.clientWidth));
    const by = Math.round((drag.x - e.offsetX) * per);
    if (Math.abs(drag.x - e.offsetX) > 4) { drag.moved = true; look(drag.view[0] + by, drag.view[1] + by); }
  });
  canvas.addEventListener('pointerup', (e) => { if (drag && !drag.moved) go(eventAt(e.offsetX, e.offsetY)); drag = null; });
  canvas.addEventListener('wheel', (e) => { if (!e.ctrlKey && !e.shiftKey) return; e.preventDefault(); zoom(e.deltaY > 0 ? 1.25 : .8); }, { passive: false });
  function look(a, b) {
    const span = Math.max(20, Math.min(N, b - a));
    a = Math.max(0, Math.min(Math.max(0, N - span), a)); view = [a, Math.min(N, a + span)]; soon(drawLanes);
  }
  function zoom(by) { const span = (view[1] - view[0]) * by, share = (at - view[0]) / Math.max(1, view[1] - view[0]); look(Math.floor(at - span * Math.min(1, Math.max(0, share))), Math.floor(at + span * (1 - Math.min(1, Math.max(0, share))))); }

  // Drawing waits for the next frame, so that keys that repeat do not pile up.
  const queue = new Set();
  function soon(draw) { if (!queue.size) requestAnimationFrame(() => { const all = [...queue]; queue.clear(); all.forEach((f) => f()); }); queue.add(draw); }

  // The list of events: only what is on the screen is in the document.
  const ROW = 22, list = $('list'), rows = $('rows');
  let index = [];
  function filter() {
    const words = $('filter').value.trim().toLowerCase(), steps = $('steps').checked;
    onlyCtx = +$('context').value;
    const hits = words ? new Set(data.texts.flatMap((t, i) => t.toLowerCase().includes(words) ? [i] : [])) : null;
    const named = data.contexts.map((c) => words !== '' && c.name.toLowerCase().includes(words));
    index = [];
    for (let i = 0; i < N; i++) {
      if (onlyCtx >= 0 && ev.ctx[i] !== onlyCtx) continue;
      if (!steps && (ev.kind[i] === KIND.step || ev.kind[i] === KIND.choice || ev.kind[i] === KIND.leave) && i !== at) continue;
      if (hits && !hits.has(ev.text[i]) && !named[ev.ctx[i]]) continue;
      index.push(i);
    }
    $('count').textContent = index.length + ' of ' + N;
    $('tall').style.height = index.length * ROW + 'px';
    reveal(); soon(drawRows); soon(drawLanes);
  }
  function reveal() { const k = lower(index, at), top = k * ROW; if (top < list.scrollTop + ROW || top > list.scrollTop + list.clientHeight - 2 * ROW) list.scrollTop = Math.max(0, top - list.clientHeight / 2); }
  function drawRows() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4), last = Math.min(index.length, first + Math.ceil(list.clientHeight / ROW) + 8);
    rows.style.top = first * ROW + 'px';
    rows.textContent = '';
    for (let k = first; k < last; k++) {
      const i = index[k], row = document.createElement('div');
      row.className = 'row ' + data.kinds[ev.kind[i]] + (i === at ? ' now' : '');
      row.setAttribute('role', 'option'); row.setAttribute('aria-selected', i === at);
      for (const [c, t] of [['t', secs(ev.time[i])], ['c', name(ev.ctx[i])], ['w', text(i)]]) { const s = document.createElement('span'); s.className = c; s.textContent = t; if (c === 'w') s.title = t; row.append(s); }
      row.addEventListener('click', () => go(i));
      rows.append(row);
    }
  }
  list.addEventListener('scroll', () => soon(drawRows));
  $('map-part').addEventListener('scroll', () => soon(drawMap));

  // The map: places that were ever in use, side by side, each as wide as its size's logarithm.
  const map = $('map');
  let space = 0, cells = [], mine = [], picked = null;
  const hues = new Map();
  const hue = (s) => { let h = hues.get(s); if (h !== undefined) return h; h = 0; for (let i = 0; i < s.length; i++) h = (h * 31 + s.charCodeAt(i)) >>> 0; hues.set(s, h %= 360); return h; };
  function choose(n) {
    space = n; picked = null;
    [...$('spaces').children].forEach((b, i) => b.setAttribute('aria-selected', i === n));
    mine = data.intervals.filter((v) => v.space === n);
    segments = !inSegments() ? [] : [...new Set(mine.flatMap((v) => [Math.floor(v.start / SEGMENT), Math.floor((v.start + v.len - 1) / SEGMENT)]))].sort((a, b) => a - b).slice(0, MAX_SEGMENTS);
    rowOf = new Map(segments.map((s, row) => [s, row]));
    freedAt = inSegments() ? segments.map(() => new Float64Array(SEGMENT).fill(Infinity)) : [];
    if (inSegments()) for (const v of mine) if (v.to >= 0) for (const [row, a, n] of stretches(v.start, v.len)) for (let k = a; k < a + n; k++) freedAt[row][k] = Math.min(freedAt[row][k], v.to);
    part.scrollTop = 0;
    const borders = [...new Set(mine.flatMap((v) => [v.start, v.start + v.len]))].sort((a, b) => a - b);
    cells = [];
    let sum = 0;
    for (let k = 0; k + 1 < borders.length; k++) {
      const a = borders[k], b = borders[k + 1];
      cells.push({ a, b, x: sum, w: 0, all: [] });
    }
    const starts = cells.map((c) => c.a);
    mine.forEach((v) => { for (let k = lower(starts, v.start); k < cells.length && cells[k].a < v.start + v.len; k++) cells[k].all.push(v); });
    cells = cells.filter((c) => c.all.length);
    cells.forEach((c) => {
      let late = -1; c.ended = Infinity;
      c.late = c.all.map((v) => { if (v.to >= 0) c.ended = Math.min(c.ended, v.to); return late = Math.max(late, v.to < 0 ? Infinity : v.to); });
    });
    cells.forEach((c, k) => { const gap = k && cells[k - 1].b !== c.a ? 3 : 0; c.x = sum + gap; c.w = 2 + Math.log2(1 + (c.b - c.a) / (data.spaces[n].unit || 1)); sum = c.x + c.w; });
    cells.sum = sum || 1;
    soon(drawMap); lately(life);
  }
  // Who has a place is the last who began and has not ended; `c.all` is in order of beginning, `c.late` says how late any up to
  // there ends.
  const owner = (c) => {
    let a = 0, b = c.all.length;
    while (a < b) { const m = (a + b) >> 1; if (c.all[m].from <= at) a = m + 1; else b = m; }
    while (--a >= 0 && c.late[a] > at) { const v = c.all[a]; if (v.to < 0 || v.to > at) return v; }
    return null;
  };
  const former = (c) => c.ended <= at;
  // Slots of a bounce pool: a row for each segment of 128 that was ever in use, a cell for each slot.
  const SEGMENT = 128, SEGMENT_ROW = 16, MAX_SEGMENTS = 512;
  // `freedAt` says for each slot of a row when it was given back first.
  let segments = [], rowOf = new Map(), freedAt = [];
  const inSegments = () => data.spaces[space] && data.spaces[space].slots;
  const slotPlace = (width) => { const left = Math.min(64, width * .18); return [left, (width - left) / SEGMENT]; };
  const stretches = (start, len) => {
    const list = [];
    for (let s = Math.floor(start / SEGMENT); s * SEGMENT < start + len; s++) {
      const row = rowOf.get(s); if (row === undefined) continue;
      const a = Math.max(start, s * SEGMENT), b = Math.min(start + len, (s + 1) * SEGMENT);
      list.push([row, a - s * SEGMENT, b - a]);
    }
    return list;
  };
  // Only the rows on the screen are drawn: the canvas stays where it is while its frame scrolls.
  const part = $('map-part'), whole = $('map-whole');
  let firstRow = 0;
  function drawSlots() {
    const all = segments.length * SEGMENT_ROW + 4, high = Math.min(all, Math.floor(window.innerHeight * .46));
    whole.style.height = all + 'px'; firstRow = part.scrollTop;
    const [g, width] = fit(map, high), [left, w] = slotPlace(width);
    const top = Math.floor(firstRow / SEGMENT_ROW), end = Math.min(segments.length, Math.ceil((firstRow + high) / SEGMENT_ROW));
    g.translate(0, -firstRow);
    const dark = css('--bg').startsWith('#1'), only = $('owner').value.trim().toLowerCase();
    g.font = '11px ui-monospace, monospace'; g.fillStyle = css('--dim');
    g.strokeStyle = css('--line');
    for (let row = top; row < end; row++) {
      const y = row * SEGMENT_ROW, freed = freedAt[row];
      g.fillStyle = css('--dim'); g.fillText(segments[row] * SEGMENT, 0, y + 9); g.strokeRect(left + .5, y + 2.5, width - left - 1, SEGMENT_ROW - 5);
      g.fillStyle = css('--line');
      for (let a = 0; a < SEGMENT; a++) if (freed[a] <= at) { let b = a + 1; while (b < SEGMENT && freed[b] <= at) b++; g.fillRect(left + a * w, y + 3, (b - a) * w, SEGMENT_ROW - 6); a = b; }
    }
    const fill = (v, style, gap) => { g.fillStyle = style; for (const [row, a, n] of stretches(v.start, v.len)) if (row >= top && row < end) g.fillRect(left + a * w, row * SEGMENT_ROW + 3, Math.max(1, n * w - gap), SEGMENT_ROW - 6); };
    for (const v of mine) if (v.from <= at && (v.to < 0 || v.to > at)) {
      const what = data.texts[v.what];
      g.globalAlpha = !only || what.toLowerCase().includes(only) ? 1 : .2;
      fill(v, `hsl(${hue(what)} ${dark ? '50% 52%' : '60% 52%'})`, w > 3 ? 1 : .5); g.globalAlpha = 1;
    }
    if (picked) { g.strokeStyle = css('--bad'); g.lineWidth = 2; for (const [row, a, n] of stretches(picked.a, picked.b - picked.a)) g.strokeRect(left + a * w, row * SEGMENT_ROW + 2, Math.max(2, n * w), SEGMENT_ROW - 4); g.lineWidth = 1; }
  }
  function pickSlot(e) {
    const [left, w] = slotPlace(map.clientWidth), s = segments[Math.floor((e.offsetY + firstRow) / SEGMENT_ROW)];
    if (s === undefined || e.offsetX < left) return null;
    const slot = s * SEGMENT + Math.floor((e.offsetX - left) / w);
    return cells.find((c) => c.a <= slot && slot < c.b);
  }
  const ROWS = 5;
  function drawMap() {
    if (inSegments()) { drawSlots(); return; }
    whole.style.height = '';
    const [g, width] = fit(map, 22 * ROWS + 6);
    const dark = css('--bg').startsWith('#1'), only = $('owner').value.trim().toLowerCase(), per = cells.sum / ROWS;
    for (const c of cells) {
      const who = owner(c), row = Math.min(ROWS - 1, Math.floor(c.x / per)), x = (c.x - row * per) / per * width, w = Math.max(1, c.w / per * width - .6), y = row * 22 + 2;
      const what = who && data.texts[who.what];
      if (who) { g.fillStyle = `hsl(${hue(what)} ${dark ? '45% 45%' : '55% 62%'})`; g.globalAlpha = !only || what.toLowerCase().includes(only) ? 1 : .15; g.fillRect(x, y, w, 18); g.globalAlpha = 1; }
      else { g.strokeStyle = former(c) ? css('--dim') : css('--line'); g.strokeRect(x + .5, y + .5, Math.max(1, w - 1), 17); if (former(c)) { g.beginPath(); g.moveTo(x, y + 18); g.lineTo(x + w, y); g.stroke(); } }
      if (picked === c) { g.strokeStyle = css('--bad'); g.lineWidth = 2; g.strokeRect(x, y, w, 18); g.lineWidth = 1; }
      c.box = [x, y, w];
    }
  }
  map.addEventListener('click', (e) => { const hit = inSegments() ? pickSlot(e) : cells.filter((c) => c.box && e.offsetY >= c.box[1] - 2 && e.offsetY < c.box[1] + 20).sort((a, b) => Math.abs(a.box[0] + a.box[2] / 2 - e.offsetX) - Math.abs(b.box[0] + b.box[2] / 2 - e.offsetX))[0]; if (hit) { picked = hit; drawMap(); life(); } });
  map.addEventListener('keydown', (e) => { const k = cells.indexOf(picked); if (e.key === 'ArrowDown' || e.key === 'ArrowUp') { e.preventDefault(); picked = cells[Math.max(0, Math.min(cells.length - 1, k + (e.key === 'ArrowDown' ? 1 : -1)))]; drawMap(); life(); } });
  const MOST = 60;
  function life() {
    const box = $('life'); box.textContent = '';
    const only = $('owner').value.trim().toLowerCase();
    let table = picked ? picked.all : mine.filter((v) => v.from <= at && (v.to < 0 || v.to > at));
    if (only) table = table.filter((v) => data.texts[v.what].toLowerCase().includes(only));
    const p = document.createElement('p');
    p.textContent = picked ? `The life of ${hex(picked.a)}..${hex(picked.b)}` : `${table.length} in use at this moment; choose a place to see its life`;
    box.append(p);
    const t = document.createElement('table'), head = t.insertRow();
    for (const h of ['range', 'who', 'from', 'to']) { const th = document.createElement('th'); th.textContent = h; head.append(th); }
    for (const v of table.slice(0, MOST)) {
      const r = t.insertRow(), has = v.from <= at && (v.to < 0 || v.to > at);
      r.className = has ? 'has' : 'gone';
      r.insertCell().textContent = hex(v.start) + '..' + hex(v.start + v.len);
      r.insertCell().textContent = data.texts[v.what];
      for (const i of [v.from, v.to]) { const cell = r.insertCell(); if (i < 0) { cell.textContent = 'the end'; continue; } const b = document.createElement('button'); b.type = 'button'; b.textContent = secs(ev.time[Math.min(i, N - 1)]) + ' ' + name(ev.ctx[Math.min(i, N - 1)]); b.addEventListener('click', () => go(Math.min(i, N - 1))); cell.append(b); }
    }
    if (table.length > MOST) { const more = document.createElement('p'); more.textContent = 'and ' + (table.length - MOST) + ' more'; box.append(t, more); } else box.append(t);
  }

  // Quantities over events.
  function drawCounters() {
    for (const c of data.counters) {
      const [g, width] = fit(c.canvas, 60), top = c.top;
      if (c.wide !== width) {
        // Of all values within a column of pixels the least and the greatest are enough.
        c.wide = width; c.path = new Path2D();
        let column = -1, low = 0, high = 0, y = 55;
        c.event.forEach((i, k) => {
          const at = Math.floor(i / Math.max(1, N) * width), before = y; y = 55 - c.value[k] / top * 50;
          if (at === column) { low = Math.min(low, y); high = Math.max(high, y); if (k + 1 < c.event.length) return; }
          else if (column >= 0) { c.path.lineTo(column, low); c.path.lineTo(column, high); c.path.lineTo(column, before); c.path.lineTo(at, before); }
          column = at; low = high = y; c.path.lineTo(at, y);
        });
        if (column >= 0) c.path.lineTo(width, y);
      }
      g.strokeStyle = css('--accent'); g.stroke(c.path);
      g.strokeStyle = css('--bad'); g.beginPath(); g.moveTo(at / Math.max(1, N) * width, 0); g.lineTo(at / Math.max(1, N) * width, 60); g.stroke();
      const k = lower(c.event, at + 1) - 1; c.label.textContent = c.name + ': ' + (k < 0 ? '-' : c.value[k]);
    }
  }
  if (data.counters.length) {
    $('quantities').hidden = false;
    for (const c of data.counters) { c.top = c.value.reduce((a, b) => Math.max(a, b), 1); const d = document.createElement('div'); c.label = document.createElement('p'); c.canvas = document.createElement('canvas'); d.append(c.label, c.canvas); $('counters').append(d); c.canvas.addEventListener('click', (e) => go(Math.min(N - 1, Math.floor(e.offsetX / c.canvas.clientWidth * N)))); }
  }

  // The story.
  function story() {
    const box = $('story');
    const add = (tag, t, cls) => { const e = document.createElement(tag); e.textContent = t; if (cls) e.className = cls; box.append(e); return e; };
    data.findings.forEach((f) => {
      add('p', f.title, 'bad mono');
      const jump = add('button', 'Go there: ' + secs(f.time) + ' s'); jump.type = 'button'; jump.addEventListener('click', () => go(f.event));
      f.story.forEach((s) => add('p', s));
      add('h3', 'Call trace'); add('pre', f.frames.join('\n'));
      f.details.forEach(([h, lines]) => { add('h3', h); add('pre', lines.join('\n')); });
    });
    if (!data.findings.length) add('p', 'Nothing was found in this run.');
    add('h3', 'Settings'); add('pre', data.settings.map(([k, v]) => k + ': ' + v).join('\n'));
    if (data.truncated) add('p', 'The run is longer than what is shown; its end is missing.');
  }

  function go(i) {
    if (!N) return;
    at = Math.max(0, Math.min(N - 1, i));
    $('slider').value = at;
    $('where').textContent = `${at + 1} of ${N}   ${secs(ev.time[at])} s   ${name(ev.ctx[at])}   ${text(at)}`;
    if (at < view[0] || at >= view[1]) { const span = view[1] - view[0]; look(at - Math.floor(span / 2), at - Math.floor(span / 2) + span); }
    reveal(); soon(drawLanes); soon(drawRows); soon(drawMap); soon(drawCounters); lately(life);
  }
  // A table of hundreds of rows waits until nothing moves any more.
  let later = 0;
  function lately(f) { clearTimeout(later); later = setTimeout(f, 120); }
  function within(by) { const l = lanes[ev.ctx[at]].events, k = lower(l, at) + by; if (l[k] !== undefined) go(l[k]); }
  function nextFinding() { const i = found.find((f) => f > at); go(i !== undefined ? i : found[0] !== undefined ? found[0] : at); }

  $('title').textContent = data.title; document.title = data.title + ' - dmasim'; $('about').textContent = data.about;
  $('slider').max = Math.max(0, N - 1);
  data.contexts.forEach((c, i) => { if (lanes[i].first < 0) return; const o = document.createElement('option'); o.value = i; o.textContent = c.name + (c.cpu === null ? '' : ' (cpu' + c.cpu + ')'); $('context').append(o); });
  data.spaces.forEach((s, i) => { const b = document.createElement('button'); b.type = 'button'; b.setAttribute('role', 'tab'); b.textContent = s.name; b.addEventListener('click', () => choose(i)); $('spaces').append(b); });
  $('slider').addEventListener('input', (e) => go(+e.target.value));
  for (const [id, f] of [['first', () => go(0)], ['back', () => go(at - 1)], ['forth', () => go(at + 1)], ['last', () => go(N - 1)], ['to-finding', nextFinding], ['in', () => zoom(.5)], ['out', () => zoom(2)], ['all', () => look(0, N)], ['help-open', () => $('help').showModal()], ['theme', theme]]) $(id).addEventListener('click', f);
  for (const id of ['filter', 'context', 'steps']) $(id).addEventListener('input', filter);
  $('owner').addEventListener('input', () => { soon(drawMap); life(); });
  function theme() { const root = document.documentElement, dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches; root.dataset.theme = dark ? 'light' : 'dark'; everything(); }
  function everything() { colours = new Map(); for (const f of [drawLanes, drawRows, drawMap, drawCounters]) soon(f); }
  document.addEventListener('keydown', (e) => {
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) && e.target.type !== 'range') { if (e.key === 'Escape') e.target.blur(); return; }
    if (e.ctrlKey || e.metaKey || e.altKey || $('help').open) return;
    const keys = { ArrowLeft: () => e.shiftKey ? within(-1) : go(at - 1), ArrowRight: () => e.shiftKey ? within(1) : go(at + 1), PageUp: () => go(at - 100), PageDown: () => go(at + 100), Home: () => go(0), End: () => go(N - 1), f: nextFinding, t: theme, '+': () => zoom(.5), '-': () => zoom(2), '/': () => $('filter').focus(), '?': () => $('help').showModal() };
    if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
  });
  window.addEventListener('resize', everything);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', everything);
  story(); filter();
  // The map lies below what is seen first, and waits until that is drawn.
  if (data.spaces.length) requestAnimationFrame(() => setTimeout(() => { if (!mine.length) choose(space); }, 0)); else document.querySelector('[aria-label="Memory and addresses"]').hidden = true;
  go(at);
  document.documentElement.dataset.ready = 'yes';
})();
