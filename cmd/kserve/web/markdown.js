/* markdown.js: what a model writes -> DOM nodes. Nothing is ever parsed as HTML: text becomes text nodes, elements are made by name
 * from the few that stand here, and a link leads to http, https or mailto or is no link. Input is hostile: nesting and label lengths
 * are bounded, and each pass over a text is linear.
 *
 *   text -> split(): blocks {raw, kind, ..} -> build(): element;  inline(): the text inside
 *
 * A Flow shows a text that grows: a block whose source stayed the same keeps its element. */

const DEEPEST = 12, LONGEST_LABEL = 500;

/* Children may be arrays of nodes and strings, of any length. */
export function el(tag, attributes, ...children) {
	const e = document.createElement(tag);
	for (const k in attributes)
		e.setAttribute(k, attributes[k]);
	for (const c of children.flat())
		e.append(c);
	return e;
}

/* --- blocks -------------------------------------------------------------------------------------------------------------------- */

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})(?=[ \t]|$)/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( +|$)/;

const blank = line => !line.trim();
const indent = line => line.length - line.trimStart().length;
const untab = line => line.replace(/^[ \t]+/, s => s.replace(/\t/g, '    '));

function starts(line) {
	const item = ITEM.exec(line);
	return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) ||
		(item && item[3] && (item[2].length === 1 || /^1[.)]/.test(item[2])));
}

/* Each takes a block that begins at line i: [block, the line after it], or nothing where there is none. */
function fence(lines, i) {
	const m = FENCE.exec(lines[i]);
	if (!m)
		return null;
	const depth = indent(lines[i]), text = [], end = new RegExp(`^ {0,3}${m[1][0]}{${m[1].length},}[ \\t]*$`);
	let j = i + 1;
	for (; j < lines.length && !end.test(lines[j]); j++)
		text.push(lines[j].slice(Math.min(depth, indent(lines[j]))));
	return [{ kind: 'code', lang: m[2].trim().split(/\s/)[0], text: text.join('\n') }, j + 1];
}

function indented(lines, i) {
	if (indent(lines[i]) < 4)
		return null;
	let j = i;
	while (j < lines.length && (blank(lines[j]) || indent(lines[j]) >= 4))
		j++;
	while (blank(lines[j - 1]))
		j--;
	return [{ kind: 'code', lang: '', text: lines.slice(i, j).map(l => l.slice(4)).join('\n') }, j];
}

function heading(lines, i) {
	const m = HEADING.exec(lines[i]);
	return m && [{ kind: 'heading', level: m[1].length, text: lines[i].slice(m[0].length).trim().replace(/(^|[ \t])#+$/, '') }, i + 1];
}

const rule = (lines, i) => RULE.test(lines[i]) && [{ kind: 'rule' }, i + 1];

function quote(lines, i) {
	if (!QUOTE.test(lines[i]))
		return null;
	let j = i;
	while (j < lines.length && (QUOTE.test(lines[j]) || (!blank(lines[j]) && !starts(lines[j]) && !blank(lines[j - 1].replace(QUOTE, '')))))
		j++;
	return [{ kind: 'quote', lines: lines.slice(i, j).map(l => untab(l.replace(QUOTE, ''))) }, j];
}

/* The lines of one item without its marker: what is indented under it, and what goes on with its paragraph. */
function item(lines, i, m) {
	const at = m[1].length, inner = m[0].length - (m[3].length > 4 ? m[3].length - 1 : 0) + (m[3] ? 0 : 1);
	const own = [untab(lines[i].slice(Math.min(inner, lines[i].length)))];
	let j = i + 1;
	for (; j < lines.length; j++) {
		const line = lines[j], deep = indent(line), nested = ITEM.test(line.trimStart());
		if (blank(line)) {
			own.push('');
			continue;
		}
		if (deep < (nested ? at + 2 : inner) && (blank(lines[j - 1]) || nested || starts(line)))
			break;
		own.push(line.slice(Math.min(deep, inner)));
	}
	let loose = false;
	while (blank(own[own.length - 1]) && own.length > 1) {
		own.pop();
		loose = true;
	}
	return { lines: own, next: j, gap: loose };
}

function list(lines, i) {
	const first = ITEM.exec(lines[i]);
	if (!first)
		return null;
	const mark = first[2].slice(-1), items = [];
	let j = i, loose = false, end = i;
	while (j < lines.length) {
		const m = ITEM.exec(lines[j]);
		if (!m || m[2].slice(-1) !== mark || (first[2].length > 1) !== (m[2].length > 1) || RULE.test(lines[j]))
			break;
		const one = item(lines, j, m);
		loose ||= items.length > 0 && items[items.length - 1].gap;
		items.push(one);
		j = end = one.next;
	}
	loose ||= items.some(one => one.lines.some((l, k) => k && blank(l) && !FENCE.test(one.lines[0])));
	return [{ kind: 'list', ordered: first[2].length > 1, start: parseInt(first[2], 10), items: items.map(one => one.lines), loose }, end];
}

function cells(line) {
	const out = [];
	let cell = '';
	const s = line.trim().replace(/^\|/, '');
	for (let i = 0; i < s.length; i++) {
		if (s[i] === '\\' && s[i + 1] === '|') {
			cell += '|';
			i++;
		} else if (s[i] === '|') {
			out.push(cell.trim());
			cell = '';
		} else {
			cell += s[i];
		}
	}
	if (cell.trim())
		out.push(cell.trim());
	return out;
}

function table(lines, i) {
	if (i + 1 >= lines.length || !lines[i].includes('|') || !lines[i + 1].includes('-'))
		return null;
	const head = cells(lines[i]), under = cells(lines[i + 1]);
	if (head.length !== under.length || !under.length || !under.every(c => /^:?-+:?$/.test(c)))
		return null;
	const align = under.map(c => c.startsWith(':') ? c.length > 1 && c.endsWith(':') ? 'center' : 'left' : c.endsWith(':') ? 'right' : '');
	const rows = [];
	let j = i + 2;
	for (; j < lines.length && !blank(lines[j]) && !starts(lines[j]); j++)
		rows.push(cells(lines[j]));
	return [{ kind: 'table', head, align, rows }, j];
}

function paragraph(lines, i) {
	let j = i + 1;
	while (j < lines.length && !blank(lines[j]) && !starts(lines[j]) && !table(lines, j))
		j++;
	return [{ kind: 'paragraph', text: lines.slice(i, j).map(l => l.trimStart()).join('\n').trimEnd() }, j];
}

const KINDS = [fence, indented, heading, rule, quote, list, table, paragraph];

function blocks(lines, depth) {
	const out = [];
	for (let i = 0; i < lines.length;) {
		if (blank(lines[i])) {
			i++;
			continue;
		}
		if (depth > DEEPEST) {
			out.push({ kind: 'paragraph', text: lines.slice(i).join('\n'), raw: '' });
			break;
		}
		let found = null;
		for (let k = 0; !found; k++)
			found = KINDS[k](lines, i);
		found[0].raw = depth ? '' : lines.slice(i, found[1]).join('\n');
		out.push(found[0]);
		i = found[1];
	}
	return out;
}

export const split = text => blocks(text.replace(/\r\n?/g, '\n').split('\n').map(untab), 0);

/* --- inside a block ------------------------------------------------------------------------------------------------------------- */

const URL_HERE = /https?:\/\/[^\s<>"`]{1,2000}/iy, ANGLED = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/iy;
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}\p{S}]/u, ESCAPABLE = /[!-/:-@[-`{-~]/;
const space = c => c === undefined || /\s/.test(c);
const punctuation = c => c !== undefined && PUNCTUATION.test(c);

/* NULL for whatever is not plainly an address of the web or of mail. */
function safe(address) {
	if (!/^(?:https?:\/\/|mailto:)/i.test(address))
		return null;
	try {
		const u = new URL(address);
		return ['http:', 'https:', 'mailto:'].includes(u.protocol) ? u.href : null;
	} catch {
		return null;
	}
}

const link = (href, ...children) => el('a', { href, rel: 'noopener noreferrer', target: '_blank' }, ...children);

/* A bare address ends before the punctuation of its sentence and before a bracket that it did not open. */
function bare(s, i) {
	URL_HERE.lastIndex = i;
	let m = URL_HERE.exec(s)?.[0];
	if (!m || (i && /\w/.test(s[i - 1])))
		return null;
	let open = 0;
	for (const c of m)
		open += (c === '(') - (c === ')');
	for (;;) {
		const last = m[m.length - 1];
		if (/[.,;:!?'*_~|\]]/.test(last) || (last === ')' && open < 0)) {
			open += last === ')';
			m = m.slice(0, -1);
		} else {
			return m;
		}
	}
}

/* [label](address "title") at i: {label, href, end}. */
function bracket(s, i) {
	let deep = 0, j = i;
	const most = Math.min(s.length, i + LONGEST_LABEL);
	for (; j < most; j++) {
		if (s[j] === '\\')
			j++;
		else if (s[j] === '[')
			deep++;
		else if (s[j] === ']' && --deep === 0)
			break;
	}
	if (j >= most || s[j + 1] !== '(')
		return null;
	const tail = /\(\s*(?:<([^<>\n]{0,2000})>|((?:[^\s()]|\([^\s()]*\)){0,2000}))(?:\s+(?:"[^"]{0,500}"|'[^']{0,500}'))?\s*\)/y;
	tail.lastIndex = j + 1;
	const m = tail.exec(s.slice(0, j + 4000));
	return m && { label: s.slice(i + 1, j), address: m[1] ?? m[2], end: tail.lastIndex };
}

function codespan(s, i) {
	let n = 1;
	while (s[i + n] === '`')
		n++;
	for (let j = s.indexOf('`', i + n); j >= 0;) {
		let k = j;
		while (s[k] === '`')
			k++;
		if (k - j === n) {
			const text = s.slice(i + n, j).replace(/\n/g, ' ');
			return { text: /^ .*[^ ].* $/.test(text) ? text.slice(1, -1) : text, end: k };
		}
		j = s.indexOf('`', k);
	}
	return { n };
}

class Mark {
	constructor(c, n, at, both) {
		Object.assign(this, { c, n, at, both, length: n });
	}
}
const plain = x => x instanceof Mark ? x.c.repeat(x.n) : x;

/* Emphasis: marks that may open wait in a stack a character; one that closes wraps what came since. */
class Marks {
	constructor(out) {
		this.out = out;
		this.open = { '*': [], '_': [], '~': [] };
	}

	wrap(c, mark, n) {
		const inside = this.out.splice(mark.at + 1);
		for (const other in this.open)
			while (this.open[other].length && this.open[other][this.open[other].length - 1].at > mark.at)
				this.open[other].pop();
		mark.n -= n;
		if (!mark.n) {
			this.out.pop();
			this.open[c].pop();
		}
		this.out.push(el(c === '~' ? 'del' : n === 2 ? 'strong' : 'em', {}, inside.map(plain)));
	}

	/* The nearest that n marks may close. One that both opens and closes pairs only where the lengths say so (CommonMark's rule of
	 * three), and then one further out may; not many are asked. */
	match(c, n, opens) {
		const open = this.open[c];
		for (let k = open.length - 1; k >= 0 && k >= open.length - 8; k--) {
			if (!((open[k].both || opens) && (open[k].length + n) % 3 === 0 && n % 3))
				return open[k];
		}
		return null;
	}

	put(s, i, n) {
		const c = s[i], before = s[i - 1], after = s[i + n];
		const left = !space(after) && (!punctuation(after) || space(before) || punctuation(before));
		const right = !space(before) && (!punctuation(before) || space(after) || punctuation(after));
		const opens = c === '_' ? left && (!right || punctuation(before)) : left;
		const closes = c === '_' ? right && (!left || punctuation(after)) : right;
		let rest = c === '~' && n !== 2 ? 0 : n;
		for (let mark; rest && closes && (mark = this.match(c, n, opens));) {
			const used = Math.min(2, rest, mark.n);
			this.wrap(c, mark, used);
			rest -= used;
		}
		if (rest && opens) {
			const mark = new Mark(c, rest, this.out.length, closes);
			this.open[c].push(mark);
			this.out.push(mark);
		} else if (rest || (c === '~' && n !== 2)) {
			this.out.push(c.repeat(rest || n));
		}
	}
}

/* -> array of nodes and strings, for append(). */
export function inline(s, depth = 0) {
	const out = [], marks = new Marks(out);
	let text = '';
	const flush = (...more) => {
		if (text)
			out.push(text);
		text = '';
		out.push(...more);
	};
	for (let i = 0; i < s.length;) {
		const c = s[i];
		let m;
		if (c === '\\' && ESCAPABLE.test(s[i + 1] ?? '')) {
			text += s[i + 1];
			i += 2;
		} else if (c === '\n') {
			text = text.replace(/[ \\]+$/, '');
			flush(el('br'));
			i++;
		} else if (c === '`') {
			m = codespan(s, i);
			if (m.end)
				flush(el('code', {}, m.text));
			else
				text += '`'.repeat(m.n);
			i = m.end ?? i + m.n;
		} else if ((c === '[' || (c === '!' && s[i + 1] === '[')) && depth < DEEPEST && (m = bracket(s, i + (c === '!')))) {
			const href = safe(m.address), label = c === '!' ? [m.label || m.address] : inline(m.label, DEEPEST);
			flush(...(href ? [link(href, label)] : [...label, ` (${m.address})`]));
			i = m.end;
		} else if (c === '<' && (ANGLED.lastIndex = i, m = ANGLED.exec(s)) && safe(m[1])) {
			flush(link(safe(m[1]), m[1]));
			i += m[0].length;
		} else if ((c === 'h' || c === 'H') && depth < DEEPEST && (m = bare(s, i)) && safe(m)) {
			flush(link(safe(m), m));
			i += m.length;
		} else if (c === '*' || c === '_' || c === '~') {
			let n = 1;
			while (s[i + n] === c)
				n++;
			flush();
			marks.put(s, i, n);
			i += n;
		} else {
			text += c;
			i++;
		}
	}
	flush();
	return out.map(plain);
}

/* --- elements ------------------------------------------------------------------------------------------------------------------- */

function task(text) {
	const m = /^\[([ xX])\] /.exec(text), box = m && el('input', { type: 'checkbox', disabled: '', 'aria-label': m[1] === ' ' ? 'not done' : 'done' });
	if (m && m[1] !== ' ')
		box.setAttribute('checked', '');
	return m ? [box, ' ', inline(text.slice(4))].flat() : inline(text);
}

function listed(lines, loose, depth) {
	const inside = blocks(lines, depth + 1);
	return el('li', { dir: 'auto' }, inside.flatMap(b => b.kind === 'paragraph' && !loose ? task(b.text) : [build(b, depth + 1)]));
}

function row(tag, texts, align) {
	return el('tr', {}, align.map((a, k) => el(tag, a ? { dir: 'auto', class: a } : { dir: 'auto' }, inline(texts[k] ?? ''))));
}

/* Headings of an answer stand below those of the page. */
const BUILD = {
	code: b => el('figure', { class: 'code' },
		el('figcaption', {}, el('span', {}, b.lang.slice(0, 40)), el('button', { type: 'button', class: 'copy' }, 'Copy')),
		el('pre', { tabindex: '0', dir: 'ltr' }, el('code', {}, b.text))),
	heading: b => el(`h${Math.min(6, b.level + 2)}`, { dir: 'auto' }, inline(b.text)),
	rule: () => el('hr'),
	quote: (b, depth) => el('blockquote', { dir: 'auto' }, blocks(b.lines, depth + 1).map(x => build(x, depth + 1))),
	list: (b, depth) => el(b.ordered ? 'ol' : 'ul', b.ordered && b.start !== 1 ? { start: b.start } : {},
		b.items.map(lines => listed(lines, b.loose, depth))),
	table: b => el('div', { class: 'table', tabindex: '0', role: 'group', 'aria-label': 'Table' },
		el('table', {}, el('thead', {}, row('th', b.head, b.align)), el('tbody', {}, b.rows.map(r => row('td', r, b.align))))),
	paragraph: b => el('p', { dir: 'auto' }, inline(b.text)),
};

export const build = (b, depth = 0) => BUILD[b.kind](b, depth);

export class Flow {
	constructor(parent) {
		this.parent = parent;
		this.raws = [];
	}

	update(text) {
		const now = split(text), nodes = this.parent.children;
		for (let i = 0; i < now.length; i++) {
			if (this.raws[i] === now[i].raw)
				continue;
			if (i < nodes.length)
				nodes[i].replaceWith(build(now[i]));
			else
				this.parent.append(build(now[i]));
		}
		while (nodes.length > now.length)
			nodes[nodes.length - 1].remove();
		this.raws = now.map(b => b.raw);
	}
}
