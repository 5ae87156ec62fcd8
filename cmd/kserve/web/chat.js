/* chat.js: one question to the server: conversation -> request, events of the stream -> message.
 *
 * What the server or the network says against it becomes a Fault with a sentence. */

export class Fault extends Error {
	constructor(sentence, status = 0) {
		super(sentence);
		this.status = status;
	}
}

/* One that begins like a sentence, but where the name of a field comes first, and ends like one. */
function sentence(s, field) {
	s = String(s).trim();
	return (field && s.startsWith(field) ? s : s.charAt(0).toUpperCase() + s.slice(1)) + (/[.!?]$/.test(s) ? '' : '.');
}

const WORDS = { 401: 'The server wants an API key', 413: 'The conversation is too long for the server', 429: 'The server is busy',
	502: 'What stands between here and the server does not reach it', 503: 'The server cannot answer now' };

async function fault(response) {
	let said = {};
	try {
		said = (await response.json()).error ?? {};
	} catch {
		/* Whoever stands between may answer in other words. */
	}
	const again = response.headers.get('Retry-After');
	const words = said.message || WORDS[response.status] || `The server answered with status ${response.status}`;
	return new Fault(sentence(words, said.param) + (again ? ` Try again in ${again} s.` : ''), response.status);
}

/* path: relative to the page, so that a proxy may serve it anywhere. */
export async function ask(path, { key, body, signal } = {}) {
	const headers = { ...(key && { Authorization: `Bearer ${key}` }), ...(body && { 'Content-Type': 'application/json' }) };
	let response;
	try {
		response = await fetch(path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body), signal, credentials: 'same-origin' });
	} catch (e) {
		if (e.name === 'AbortError')
			throw e;
		throw new Fault('The server cannot be reached. Is it running?');
	}
	if (!response.ok)
		throw await fault(response);
	return response;
}

/* The tools as typed -> what the API wants; a bare function is wrapped. Throws a Fault. */
export function read_tools(typed) {
	if (!typed.trim())
		return [];
	let v;
	try {
		v = JSON.parse(typed);
	} catch (e) {
		throw new Fault(`The tools are no JSON: ${e.message}.`);
	}
	return (Array.isArray(v) ? v : v.tools ?? [v]).map(t => t?.function ? t : { type: 'function', function: t });
}

export function read_more(typed) {
	if (!typed.trim())
		return {};
	let v = null;
	try {
		v = JSON.parse(typed);
	} catch {
		/* Said below. */
	}
	if (v === null || typeof v !== 'object' || Array.isArray(v))
		throw new Fault('The other fields must be one JSON object, such as {"top_k": 20}.');
	return v;
}

function spoken(m) {
	if (m.role !== 'assistant')
		return m.role === 'tool' ? { role: 'tool', tool_call_id: m.tool_call_id, content: m.content } : { role: 'user', content: m.content };
	const out = { role: 'assistant', content: m.content || (m.tool_calls ? null : '') };
	if (m.reasoning_content)
		out.reasoning_content = m.reasoning_content;
	if (m.tool_calls)
		out.tool_calls = m.tool_calls;
	return out;
}

export function request(c) {
	const tools = read_tools(c.tools);
	const body = { messages: [...(c.system.trim() ? [{ role: 'system', content: c.system }] : []), ...c.messages.map(spoken)],
		stream: true, stream_options: { include_usage: true, continuous_usage_stats: true }, timings_per_token: true };
	if (tools.length)
		body.tools = tools;
	for (const k of ['temperature', 'top_p', 'max_tokens', 'seed'])
		if (c[k] !== '' && Number.isFinite(Number(c[k])))
			body[k] = Number(c[k]);
	return { ...body, ...read_more(c.more) };
}

/* The data of each event, until the end of the stream. */
async function *events(stream) {
	const reader = stream.getReader(), decoder = new TextDecoder();
	let rest = '';
	for (;;) {
		const { done, value } = await reader.read();
		const lines = (rest + decoder.decode(value ?? new Uint8Array(), { stream: !done })).split('\n');
		rest = lines.pop();
		for (const line of lines)
			if (line.startsWith('data:'))
				yield line.slice(5).trim();
		if (done)
			return;
	}
}

function take_calls(m, deltas) {
	m.tool_calls ??= [];
	for (const d of deltas) {
		const one = m.tool_calls[d.index] ??= { id: '', type: 'function', function: { name: '', arguments: '' } };
		one.id ||= d.id ?? '';
		one.function.name ||= d.function?.name ?? '';
		one.function.arguments += d.function?.arguments ?? '';
	}
}

function take_usage(m, usage, timings, since) {
	if (usage)
		Object.assign(m.stats, { made: usage.completion_tokens, prompt: usage.prompt_tokens, cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
			thought: usage.completion_tokens_details?.reasoning_tokens ?? 0 });
	const seconds = (performance.now() - since) / 1000;
	m.stats.rate = timings?.predicted_per_second ?? (seconds > 0.2 ? (m.stats.made - 1) / seconds : m.stats.rate ?? 0);
}

/* Fills m; changed() after each event. m.end: the finish reason; "stopped" when the signal came. Throws a Fault. */
export async function answer(body, m, { key, signal, changed }) {
	let first = 0, over = false;
	try {
		const response = await ask('v1/chat/completions', { key, body, signal });
		for await (const data of events(response.body)) {
			if (data === '[DONE]') {
				over = true;
				break;
			}
			const e = JSON.parse(data);
			if (e.error)
				throw new Fault(sentence(e.error.message ?? 'the server failed'), 500);
			const choice = e.choices?.[0], d = choice?.delta ?? {};
			first ||= performance.now();
			m.reasoning_content = (m.reasoning_content ?? '') + (d.reasoning_content ?? '');
			m.content += d.content ?? '';
			if (d.tool_calls)
				take_calls(m, d.tool_calls);
			m.end = choice?.finish_reason ?? m.end;
			take_usage(m, e.usage, e.timings, first);
			changed();
		}
		if (!over)
			throw new Fault('The connection ended before the answer did.');
	} catch (e) {
		/* A call that was cut off is none. */
		delete m.tool_calls;
		m.end = 'stopped';
		if (e instanceof Fault)
			throw e;
		if (!signal.aborted)
			throw new Fault(e instanceof SyntaxError ? 'The server sent something that is no event.' : 'The connection was lost.');
	} finally {
		if (!m.reasoning_content)
			delete m.reasoning_content;
	}
}
