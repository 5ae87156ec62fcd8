/* store.js: conversations, kept in the browser alone: one record each in IndexedDB, or in memory where the browser gives none.
 *
 *   {id, title, changed, system, tools, more, temperature, top_p, max_tokens, seed, messages: [message]}
 *   message: {role, content, reasoning_content?, tool_calls?, tool_call_id?, stats?, end?}
 *
 * tools and more are text, as typed. What comes from outside (a file, an older page) goes through conversation(), which keeps what
 * has the right type and nothing else. */

export const SETTINGS = ['system', 'tools', 'more', 'temperature', 'top_p', 'max_tokens', 'seed'];

const text = v => typeof v === 'string' ? v : '';
export const new_id = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), b => b.toString(16).padStart(2, '0')).join('');

function call(v) {
	const f = v?.function;
	if (typeof v?.id !== 'string' || typeof f?.name !== 'string')
		return null;
	const args = typeof f.arguments === 'string' ? f.arguments : JSON.stringify(f.arguments ?? {});
	return { id: v.id, type: 'function', function: { name: f.name, arguments: args } };
}

/* A content in parts is joined: the page shows text. */
function content(v) {
	return Array.isArray(v) ? v.map(p => text(p?.text)).join('') : text(v);
}

function message(v) {
	if (!['user', 'assistant', 'tool'].includes(v?.role))
		return null;
	const m = { role: v.role, content: content(v.content) };
	if (v.role === 'tool')
		m.tool_call_id = text(v.tool_call_id);
	if (v.role !== 'assistant')
		return m;
	if (text(v.reasoning_content))
		m.reasoning_content = v.reasoning_content;
	const calls = Array.isArray(v.tool_calls) ? v.tool_calls.map(call).filter(Boolean) : [];
	if (calls.length)
		m.tool_calls = calls;
	m.end = text(v.end);
	m.stats = {};
	for (const k of ['made', 'prompt', 'cached', 'rate', 'thought'])
		if (Number.isFinite(v.stats?.[k]))
			m.stats[k] = v.stats[k];
	return m;
}

/* Also what a chat request looks like: messages with a system message first, tools as an array. NULL when it is nothing of both. */
export function conversation(v) {
	if (!v || !Array.isArray(v.messages))
		return null;
	const first = ['system', 'developer'].includes(v.messages[0]?.role) ? v.messages[0] : null;
	const c = { id: text(v.id) || new_id(), title: text(v.title).slice(0, 200), changed: Number.isFinite(v.changed) ? v.changed : Date.now() };
	for (const k of SETTINGS)
		c[k] = typeof v[k] === 'number' ? String(v[k]) : text(v[k]);
	if (Array.isArray(v.tools))
		c.tools = JSON.stringify(v.tools, null, 2);
	c.system ||= first ? content(first.content) : '';
	c.messages = v.messages.map(message).filter(Boolean);
	return c;
}

/* A file: our own export, one conversation, one request, or an array of messages. */
export function read_file(data) {
	const list = Array.isArray(data?.conversations) ? data.conversations : Array.isArray(data) ? [{ messages: data }] : [data];
	return list.map(conversation).filter(c => c?.messages.length || c?.system);
}

export const write_file = list => JSON.stringify({ format: 'kserve-conversations', version: 1, conversations: list }, null, 1);

const wait = request => new Promise((done, fail) => {
	request.onsuccess = () => done(request.result);
	request.onerror = () => fail(request.error);
});

/* {lasting, all(), put(conversation), remove(id)} */
export async function open_store() {
	const memory = new Map();
	let db = null;
	try {
		const request = indexedDB.open('kserve', 1);
		request.onupgradeneeded = () => request.result.createObjectStore('conversations', { keyPath: 'id' });
		db = await wait(request);
	} catch {
		/* Private windows, or a browser that keeps nothing. */
	}
	const table = mode => db.transaction('conversations', mode).objectStore('conversations');
	return {
		lasting: db !== null,
		all: async () => (db ? await wait(table('readonly').getAll()) : [...memory.values()]).map(conversation).filter(Boolean),
		put: async c => db ? wait(table('readwrite').put(structuredClone(c))) : memory.set(c.id, c),
		remove: async id => db ? wait(table('readwrite').delete(id)) : memory.delete(id),
	};
}
