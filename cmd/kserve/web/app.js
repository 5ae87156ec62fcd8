/* app.js: the page. One conversation is shown; each may have an answer on its way, which goes on when another is shown.
 *
 *   list, current   conversations (store.js), newest first; a new one is in the list from its first message on
 *   views           what is shown of current.messages, one each (view.js)
 *   running         conversation id -> {m, controller}: the answer that grows (chat.js)
 *   problems        conversation id -> the sentence that the last attempt ended with */
import { el } from './markdown.js';
import { SETTINGS, new_id, open_store, read_file, write_file } from './store.js';
import { Fault, answer, ask, read_more, read_tools, request } from './chat.js';
import { button, editor, icon, problem, results, view } from './view.js';

const $ = id => document.getElementById(id);
const running = new Map(), problems = new Map(), unsaved = new Map();
const narrow = matchMedia('(max-width: 760px)'), dark = matchMedia('(prefers-color-scheme: dark)');
let store, list = [], current, views = [], stick = true, drawing = 0;

/* Small things that outlive the page; a browser may refuse to keep them. */
function recall(where, name) {
	try {
		return where().getItem(name) ?? '';
	} catch {
		return '';
	}
}
function keep(where, name, value) {
	try {
		where().setItem(name, value);
	} catch {
		/* Then they live as long as the page. */
	}
}
const local = () => localStorage, session = () => sessionStorage;
let key = recall(session, 'key');

/* --- saying things ---------------------------------------------------------------------------------------------------------------- */

let toast_timer = 0;
function toast(text, words, act) {
	const b = words && el('button', { type: 'button' }, words);
	b?.addEventListener('click', () => {
		$('toast').replaceChildren();
		act();
	});
	$('toast').replaceChildren(el('p', {}, text), ...(b ? [b] : []));
	clearTimeout(toast_timer);
	toast_timer = setTimeout(() => $('toast').replaceChildren(), 8000);
}

async function copy(text, b) {
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		/* Without TLS there is no clipboard; the old way works there. */
		const box = el('textarea', { class: 'away', 'aria-hidden': 'true' });
		box.value = text;
		document.body.append(box);
		box.select();
		document.execCommand('copy');
		box.remove();
		b.focus();
	}
	const old = [...b.childNodes];
	b.replaceChildren(b.classList.contains('icon') ? icon('done') : 'Copied');
	setTimeout(() => b.replaceChildren(...old), 1500);
}

/* --- keeping ---------------------------------------------------------------------------------------------------------------------- */

async function write(c) {
	clearTimeout(unsaved.get(c.id));
	unsaved.delete(c.id);
	try {
		await store.put(c);
	} catch (e) {
		toast(`The conversation could not be kept: ${e.message}.`);
	}
}

/* Soon: what is typed and what grows. */
function save(c) {
	if (list.includes(c) && !unsaved.has(c.id))
		unsaved.set(c.id, setTimeout(() => write(c), 500));
}

function flush() {
	for (const c of list)
		if (unsaved.has(c.id))
			write(c);
}

function fresh(like) {
	const c = { id: new_id(), title: '', changed: Date.now(), messages: [] };
	for (const k of SETTINGS)
		c[k] = like?.[k] ?? '';
	return c;
}

/* --- drawing ---------------------------------------------------------------------------------------------------------------------- */

const name_of = id => current.messages.flatMap(m => m.tool_calls ?? []).find(c => c.id === id)?.function.name ?? id;
const last = () => current.messages[current.messages.length - 1];

/* Calls of the last answer that have no result yet. */
function open_calls(c) {
	const at = c.messages.findLastIndex(m => m.role === 'assistant'), told = c.messages.slice(at + 1);
	if (at < 0 || running.has(c.id) || told.some(m => m.role !== 'tool'))
		return [];
	return (c.messages[at].tool_calls ?? []).filter(call => !told.some(m => m.tool_call_id === call.id));
}

const on = { copy, edit, again };

function draw_list() {
	$('list').replaceChildren(...list.map(c => {
		const title = c.title || 'Untitled';
		const open = el('button', { type: 'button', class: 'open', dir: 'auto', title }, title);
		if (c === current)
			open.setAttribute('aria-current', 'true');
		open.classList.toggle('running', running.has(c.id));
		open.addEventListener('click', () => {
			show(c);
			close_side();
		});
		return el('li', {}, open, button(`Delete ${title}`, 'delete', () => remove(c)));
	}));
}

function to_end() {
	if (stick)
		$('scroll').scrollTop = $('scroll').scrollHeight;
	$('down').hidden = stick;
}

function draw_after() {
	const calls = open_calls(current), sentence = problems.get(current.id);
	const form = calls.length ? results(calls, texts => tell(calls, texts)) : null;
	$('after').replaceChildren(...(form ? [form.node] : []), ...(sentence ? [problem(sentence, () => run(current))] : []));
	$('text').disabled = calls.length > 0;
	$('text').placeholder = calls.length ? 'Tool results first' : 'Message';
	form?.focus();
}

function draw_state() {
	const busy = running.has(current.id);
	$('send').replaceChildren(icon(busy ? 'stop' : 'send'));
	$('send').setAttribute('aria-label', busy ? 'Stop' : 'Send');
	$('send').title = busy ? 'Stop (Esc)' : 'Send (Enter)';
	$('send').disabled = !busy && (!$('text').value.trim() || $('text').disabled);
	$('log').setAttribute('aria-busy', busy);
	$('empty').hidden = current.messages.length > 0;
}

function draw_turns() {
	const m = running.get(current.id)?.m;
	current.messages.forEach((one, i) => {
		if (views[i]?.m !== one) {
			views[i]?.view.node.remove();
			views[i] = { m: one, view: view(one, on, name_of) };
			$('log').insertBefore(views[i].view.node, $('log').children[i] ?? null);
		}
		views[i].view.update({ running: one === m, last: one === last() && !m });
	});
	for (const extra of views.splice(current.messages.length))
		extra.view.node.remove();
}

function draw() {
	draw_turns();
	draw_after();
	draw_state();
	to_end();
}

/* While an answer grows: once a frame, its own view alone. */
function grow(c, m) {
	save(c);
	if (c !== current || drawing)
		return;
	drawing = requestAnimationFrame(() => {
		drawing = 0;
		const v = views.find(one => one.m === m);
		if (c === current && v && running.has(c.id)) {
			v.view.update({ running: true, last: false });
			to_end();
		}
	});
}

function show(c) {
	current = c;
	keep(local, 'last', c.id);
	$('title').value = c.title;
	$('title').placeholder = 'New conversation';
	document.title = c.title ? `${c.title} – kserve` : 'kserve';
	for (const k of SETTINGS)
		$(`s-${k}`).value = c[k];
	check_settings();
	for (const v of views.splice(0))
		v.view.node.remove();
	stick = true;
	draw_list();
	draw();
	if (!narrow.matches && !$('text').disabled)
		$('text').focus();
}

/* --- asking ----------------------------------------------------------------------------------------------------------------------- */

function touch(c) {
	c.changed = Date.now();
	list = [c, ...list.filter(one => one !== c)];
	draw_list();
	write(c);
}

async function run(c) {
	const m = { role: 'assistant', content: '', stats: {}, end: '' }, controller = new AbortController();
	if (running.has(c.id))
		return;
	problems.delete(c.id);
	try {
		const body = request(c);
		c.messages.push(m);
		running.set(c.id, { m, controller });
		touch(c);
		stick ||= c === current;
		if (c === current)
			draw();
		await answer(body, m, { key, signal: controller.signal, changed: () => grow(c, m) });
	} catch (e) {
		problems.set(c.id, e instanceof Fault ? e.message : `This page failed: ${e.message}.`);
		if (e.status === 401)
			ask_key();
	}
	running.delete(c.id);
	if (m.end === 'stopped' && !m.content && !m.reasoning_content)
		c.messages = c.messages.filter(one => one !== m);
	touch(c);
	if (c === current)
		draw();
}

function say(text) {
	current.title ||= text.trim().split('\n')[0].slice(0, 60);
	$('title').value = current.title;
	document.title = `${current.title} – kserve`;
	current.messages.push({ role: 'user', content: text });
	run(current);
}

function tell(calls, texts) {
	calls.forEach((c, i) => current.messages.push({ role: 'tool', tool_call_id: c.id, content: texts[i] }));
	run(current);
	$('text').focus();
}

const stop = () => running.get(current.id)?.controller.abort();

/* The answer m again: what came after the question goes away. */
function again(m) {
	if (running.has(current.id))
		return;
	const at = current.messages.indexOf(m);
	current.messages.length = at;
	run(current);
}

function edit(m, v) {
	const c = current, back = () => {
		form.node.replaceWith(v.bubble);
		v.foot.hidden = false;
		v.foot.lastElementChild.focus();
	};
	if (running.has(c.id))
		return;
	const form = editor(m.content, 'Edit the message', 'Send', text => {
		c.messages.length = c.messages.indexOf(m);
		c.messages.push({ role: 'user', content: text });
		run(c);
		$('text').focus();
	}, back);
	v.bubble.replaceWith(form.node);
	v.foot.hidden = true;
	form.focus();
}

function remove(c) {
	const at = list.indexOf(c);
	running.get(c.id)?.controller.abort();
	clearTimeout(unsaved.get(c.id));
	unsaved.delete(c.id);
	list = list.filter(one => one !== c);
	store.remove(c.id);
	if (c === current)
		show(list[Math.min(at, list.length - 1)] ?? fresh(c));
	else
		draw_list();
	($('list').children[at]?.lastElementChild ?? $('new')).focus();
	toast('The conversation was deleted.', 'Undo', () => {
		list.splice(at, 0, c);
		write(c);
		show(c);
	});
}

/* --- files, settings, the key ----------------------------------------------------------------------------------------------------- */

function export_all() {
	const a = el('a', { href: URL.createObjectURL(new Blob([write_file(list)], { type: 'application/json' })), download: 'conversations.json' });
	a.click();
	setTimeout(() => URL.revokeObjectURL(a.href), 60000);
}

async function import_file(file) {
	let found = [];
	try {
		found = read_file(JSON.parse(await file.text()));
	} catch {
		/* Said below. */
	}
	if (!found.length)
		return toast(`${file.name} has no conversations that this page can read.`);
	for (const c of found) {
		if (list.some(one => one.id === c.id))
			c.id = new_id();
		c.title ||= c.messages.find(m => m.role === 'user')?.content.trim().split('\n')[0].slice(0, 60) ?? '';
		list.push(c);
		await write(c);
	}
	list.sort((a, b) => b.changed - a.changed);
	show(found[0]);
	toast(found.length === 1 ? 'One conversation was imported.' : `${found.length} conversations were imported.`);
}

function check_settings() {
	for (const [name, read] of [['tools', read_tools], ['more', read_more]]) {
		let wrong = '';
		try {
			read($(`s-${name}`).value);
		} catch (e) {
			wrong = e.message;
		}
		$(`e-${name}`).textContent = wrong;
		$(`s-${name}`).setAttribute('aria-invalid', wrong !== '');
	}
}

function set_key(value) {
	key = value.trim();
	keep(session, 'key', key);
	$('s-key').value = key;
	about();
}

function ask_key() {
	if (!document.querySelector('dialog[open]'))
		$('key').showModal();
}

async function about() {
	try {
		const m = (await (await ask('v1/models', { key })).json()).data[0];
		$('model').textContent = $('model').title = m.id;
		$('about').textContent = `${m.id}, context ${m.max_model_len.toLocaleString('en')} tokens`;
	} catch (e) {
		$('about').textContent = e instanceof Fault ? e.message : 'The server says nothing about its model.';
		if (e.status === 401)
			ask_key();
	}
}

function turn_theme() {
	const now = document.documentElement.dataset.theme || (dark.matches ? 'dark' : 'light'), next = now === 'dark' ? 'light' : 'dark';
	document.documentElement.dataset.theme = next;
	keep(local, 'theme', next);
}

/* --- the side list of a narrow page ------------------------------------------------------------------------------------------------ */

function open_side() {
	$('side').classList.add('open');
	$('menu').setAttribute('aria-expanded', 'true');
	document.querySelector('main').inert = true;
	$('side-close').focus();
}

function close_side() {
	if (!$('side').classList.contains('open'))
		return;
	$('side').classList.remove('open');
	$('menu').setAttribute('aria-expanded', 'false');
	document.querySelector('main').inert = false;
	$('menu').focus();
}

/* --- wiring ------------------------------------------------------------------------------------------------------------------------ */

function new_conversation() {
	close_side();
	show(fresh(current));
	$('text').focus();
}

function fit() {
	$('text').style.height = 'auto';
	$('text').style.height = `${$('text').scrollHeight}px`;
	draw_state();
}

function send() {
	const text = $('text').value;
	if (running.has(current.id) || !text.trim() || $('text').disabled)
		return;
	$('text').value = '';
	fit();
	say(text);
}

function edit_last() {
	const at = current.messages.findLastIndex(m => m.role === 'user');
	if (at >= 0)
		edit(current.messages[at], views[at].view);
}

const typing = e => /^(?:INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName);
const SHORTCUTS = [
	[e => e.key === 'Escape', () => $('side').classList.contains('open') ? close_side() : stop()],
	[e => e.key === '/' && !typing(e), () => $('text').focus()],
	[e => e.key === '?' && !typing(e), () => $('shortcuts').showModal()],
	[e => e.altKey && e.code === 'KeyN', new_conversation],
	[e => e.altKey && e.code === 'KeyR', () => last()?.role === 'assistant' && again(last())],
	[e => e.altKey && e.code === 'KeyS', () => $('settings').showModal()],
];

function on_key(e) {
	if (e.isComposing || e.ctrlKey || e.metaKey || document.querySelector('dialog[open]'))
		return;
	const found = SHORTCUTS.find(([is]) => is(e));
	if (found) {
		e.preventDefault();
		found[1]();
	}
}

function on_text_key(e) {
	if (e.isComposing)
		return;
	if (e.key === 'Enter' && !e.shiftKey) {
		e.preventDefault();
		send();
	} else if (e.key === 'ArrowUp' && !$('text').value) {
		e.preventDefault();
		edit_last();
	}
}

function wire_dialogs() {
	for (const d of document.querySelectorAll('dialog'))
		d.addEventListener('click', e => (e.target === d || e.target.closest('[data-close]')) && d.close());
	$('settings-open').addEventListener('click', () => $('settings').showModal());
	$('keys').addEventListener('click', () => $('shortcuts').showModal());
	for (const k of SETTINGS)
		$(`s-${k}`).addEventListener('input', () => {
			current[k] = $(`s-${k}`).value;
			check_settings();
			save(current);
		});
	$('s-key').value = key;
	$('s-key').addEventListener('change', () => set_key($('s-key').value));
	$('key-form').addEventListener('submit', e => {
		e.preventDefault();
		set_key($('key-text').value);
		$('key-text').value = '';
		$('key').close();
		if (problems.has(current.id))
			run(current);
	});
}

function wire() {
	$('ask').addEventListener('submit', e => {
		e.preventDefault();
		if (running.has(current.id))
			stop();
		else
			send();
	});
	$('text').addEventListener('keydown', on_text_key);
	$('text').addEventListener('input', fit);
	$('new').addEventListener('click', new_conversation);
	$('menu').addEventListener('click', open_side);
	$('side-close').addEventListener('click', close_side);
	$('scrim').addEventListener('click', close_side);
	narrow.addEventListener('change', close_side);
	$('theme').addEventListener('click', turn_theme);
	$('export').addEventListener('click', export_all);
	$('import').addEventListener('click', () => $('file').click());
	$('file').addEventListener('change', async () => {
		if ($('file').files[0])
			await import_file($('file').files[0]);
		$('file').value = '';
	});
	$('title').addEventListener('input', () => {
		current.title = $('title').value;
		draw_list();
		save(current);
	});
	$('scroll').addEventListener('scroll', () => {
		const s = $('scroll');
		stick = s.scrollHeight - s.scrollTop - s.clientHeight < 40;
		$('down').hidden = stick;
	}, { passive: true });
	$('down').addEventListener('click', () => {
		stick = true;
		to_end();
	});
	$('log').addEventListener('click', e => {
		const b = e.target.closest('.copy');
		if (b)
			copy(b.closest('figure').querySelector('code').textContent, b);
	});
	document.addEventListener('keydown', on_key);
	document.addEventListener('visibilitychange', () => document.hidden && flush());
	addEventListener('pagehide', flush);
}

async function start() {
	store = await open_store();
	list = (await store.all()).sort((a, b) => b.changed - a.changed);
	wire();
	wire_dialogs();
	show(list.find(c => c.id === recall(local, 'last')) ?? fresh(list[0]));
	if (!store.lasting)
		toast('This browser keeps nothing: conversations end with the page.');
	about();
	document.documentElement.dataset.ready = '';
}

start();
