/* view.js: a message -> elements. Each view has node and update(state); state: {running, last}. What the buttons do is the caller's:
 * on.copy(text, button), on.edit(message, view), on.again(message). */
import { el, Flow } from './markdown.js';

export function icon(name) {
	const ns = 'http://www.w3.org/2000/svg', svg = document.createElementNS(ns, 'svg'), use = document.createElementNS(ns, 'use');
	use.setAttribute('href', `#i-${name}`);
	svg.setAttribute('aria-hidden', 'true');
	svg.append(use);
	return svg;
}

export function button(label, name, act) {
	const b = el('button', { type: 'button', class: 'icon small', 'aria-label': label, title: label }, [icon(name)]);
	b.addEventListener('click', () => act(b));
	return b;
}

const number = n => n.toLocaleString('en', { maximumFractionDigits: n < 100 ? 1 : 0 });
const count = (n, noun) => `${number(n)} ${noun}${n === 1 ? '' : 's'}`;

function pretty(json) {
	try {
		return JSON.stringify(JSON.parse(json), null, 2);
	} catch {
		return json;
	}
}

const ENDS = { length: 'cut at the most tokens', stopped: 'stopped', abort: 'cut off by the server' };

function statistics(m) {
	const s = m.stats ?? {}, out = [];
	if (s.made)
		out.push(count(s.made, 'token'));
	if (s.rate)
		out.push(`${number(s.rate)} tokens/s`);
	if (s.prompt)
		out.push(`prompt ${number(s.prompt)}${s.cached ? `, ${number(s.cached)} cached` : ''}`);
	if (ENDS[m.end])
		out.push(ENDS[m.end]);
	return out.join(' · ');
}

/* Folded, with its text made when it is there. */
function fold(kind, name, inside) {
	const brief = el('span', { class: 'brief', dir: 'auto' });
	const node = el('details', { class: kind }, el('summary', {}, name, brief), inside);
	return { node, brief, inside };
}

function call_view(call) {
	const name = el('code', {}), f = fold('call', [icon('tool'), name], el('pre', { tabindex: '0', dir: 'ltr', 'aria-label': 'Arguments' }));
	return { node: f.node, update() {
		name.textContent = call.function.name;
		f.brief.textContent = call.function.arguments.slice(0, 200);
		f.inside.textContent = pretty(call.function.arguments);
	} };
}

class Answer {
	constructor(m, on) {
		this.m = m;
		this.text = el('div', { class: 'text' });
		this.flow = new Flow(this.text);
		this.thought = fold('thought', ['Reasoning'], el('div', { class: 'text' }));
		this.thought.node.hidden = true;
		this.thoughts = new Flow(this.thought.inside);
		this.calls = el('div', { class: 'calls' });
		this.views = [];
		this.stats = el('p', { class: 'stats', 'aria-live': 'off' });
		this.copy = button('Copy the answer', 'copy', b => on.copy(m.content, b));
		this.again = button('Answer again', 'again', () => on.again(m));
		this.node = el('article', { class: 'turn answer', 'aria-label': 'Answer' }, this.thought.node, this.text, this.calls,
			el('footer', {}, this.stats, this.copy, this.again));
		this.thought.node.addEventListener('toggle', () => this.think());
	}

	/* A folded text costs nothing. */
	think() {
		if (this.thought.node.open)
			this.thoughts.update(this.m.reasoning_content ?? '');
	}

	update({ running, last }) {
		const m = this.m;
		this.flow.update(m.content);
		this.thought.node.hidden = !m.reasoning_content;
		this.thought.brief.textContent = m.stats?.thought ? count(m.stats.thought, 'token') : '';
		this.think();
		for (const call of (m.tool_calls ?? []).slice(this.views.length)) {
			this.views.push(call_view(call));
			this.calls.append(this.views[this.views.length - 1].node);
		}
		while (this.views.length > (m.tool_calls?.length ?? 0))
			this.views.pop().node.remove();
		this.views.forEach(v => v.update());
		this.stats.textContent = statistics(m);
		this.node.classList.toggle('running', running);
		this.copy.hidden = !m.content;
		this.again.hidden = !last;
	}
}

class Question {
	constructor(m, on) {
		this.bubble = el('div', { class: 'bubble', dir: 'auto' }, m.content);
		this.foot = el('footer', {}, button('Copy the message', 'copy', b => on.copy(m.content, b)),
			button('Edit the message', 'edit', () => on.edit(m, this)));
		this.node = el('article', { class: 'turn mine', 'aria-label': 'You' }, this.bubble, this.foot);
	}

	update() {}
}

class Result {
	constructor(m, name) {
		const f = fold('call result', [icon('tool'), 'Result of ', el('code', {}, name)], el('pre', { tabindex: '0', dir: 'auto', 'aria-label': 'Result' }, pretty(m.content)));
		f.brief.textContent = m.content.slice(0, 200);
		this.node = el('article', { class: 'turn', 'aria-label': 'Result of a tool' }, f.node);
	}

	update() {}
}

/* name_of(id): the tool that was called under this id. */
export function view(m, on, name_of) {
	return m.role === 'user' ? new Question(m, on) : m.role === 'tool' ? new Result(m, name_of(m.tool_call_id)) : new Answer(m, on);
}

/* A box to type into, in the place of something: done(text) or cancelled(). */
export function editor(value, label, words, done, cancelled) {
	const box = el('textarea', { rows: '3', dir: 'auto', 'aria-label': label });
	const cancel = el('button', { type: 'button' }, 'Cancel'), form = el('form', { class: 'editor' }, box,
		el('div', { class: 'buttons' }, cancel, el('button', { type: 'submit', class: 'main' }, words)));
	box.value = value;
	cancel.addEventListener('click', cancelled);
	form.addEventListener('submit', e => {
		e.preventDefault();
		if (box.value.trim())
			done(box.value);
	});
	box.addEventListener('keydown', e => {
		if (e.key === 'Escape') {
			e.stopPropagation();
			cancelled();
		} else if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) {
			e.preventDefault();
			form.requestSubmit();
		}
	});
	return { node: form, focus: () => box.focus() };
}

/* A box a call, and one button: done([text]). */
export function results(calls, done) {
	const boxes = calls.map(c => el('textarea', { rows: '2', dir: 'auto', class: 'mono', 'aria-label': `Result of ${c.function.name}` }));
	const form = el('form', { class: 'results', 'aria-label': 'Results of the tools' },
		calls.flatMap((c, i) => [el('p', {}, 'Result of ', el('code', {}, c.function.name)), boxes[i]]),
		el('div', { class: 'buttons' }, el('button', { type: 'submit', class: 'main' }, calls.length > 1 ? 'Send the results' : 'Send the result')));
	form.addEventListener('submit', e => {
		e.preventDefault();
		done(boxes.map(b => b.value));
	});
	form.addEventListener('keydown', e => {
		if (e.key === 'Enter' && !e.shiftKey && !e.isComposing && e.target.tagName === 'TEXTAREA') {
			e.preventDefault();
			const next = boxes.find(b => !b.value && b !== e.target);
			if (next)
				next.focus();
			else
				form.requestSubmit();
		}
	});
	return { node: form, focus: () => boxes[0].focus() };
}

export function problem(sentence, again) {
	const b = el('button', { type: 'button' }, 'Try again');
	b.addEventListener('click', again);
	return el('div', { class: 'problem', role: 'alert' }, el('p', { dir: 'auto' }, sentence), b);
}
