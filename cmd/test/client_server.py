"""client_server.py PORTFILE: a server that misbehaves by the first part of the path: /cut/v1 closes connections, /busy/v1 says 429 ... Each kind fails the
first tries of each request body and then answers; what never gets better is under /dead, /refuses, /garbage. /echo answers with what the request says,
as it is."""
import http.server, json, sys, threading, time

seen, lock, log = {}, threading.Lock(), open(sys.argv[1] + '.log', 'w')
TEXT = 'It rains — in Tromsø.'

def chat():
    return {'id': 'x', 'object': 'chat.completion', 'choices': [{'index': 0, 'message': {'role': 'assistant', 'content': TEXT}, 'finish_reason': 'stop'}],
            'usage': {'prompt_tokens': 3, 'completion_tokens': 4}}

def stream():
    head = {'id': 'x', 'object': 'chat.completion.chunk'}
    deltas = [{'role': 'assistant', 'content': ''}] + [{'content': c} for c in TEXT]
    out = [': ping\n\n'] + [f'data: {json.dumps({**head, "choices": [{"index": 0, "delta": d, "finish_reason": None}]}, ensure_ascii=False)}\r\n\r\n' for d in deltas]
    out.append(f'data: {json.dumps({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": {"completion_tokens": 4}}]})}\n\n')
    return (''.join(out) + 'data: [DONE]\n\n').encode()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *a):
        pass
    def answer(self, status, body, **headers):
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k.replace('_', '-'), v)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def cut(self, sent):
        self.send_response(200)
        self.send_header('Content-Length', '100000')
        self.end_headers()
        self.wfile.write(sent)
        self.wfile.flush()
        self.close_connection = True
    def do_GET(self):
        if self.path.startswith('/sick/'):
            return self.answer(200, b'{"error": {"message": "no models yet"}}')
        self.answer(200, b'{"object": "list", "data": [{"id": "m1"}, {"id": "m2"}]}')
    def do_POST(self):
        kind = self.path.split('/')[1]
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        with lock:
            key = kind + json.dumps(body)
            seen[key] = n = seen.get(key, 0) + 1
            print(time.monotonic(), kind, n, body.get('model'), self.headers.get('Authorization'), file=log, flush=True)
        good = stream() if body.get('stream') else json.dumps(chat(), ensure_ascii=False).encode()
        if kind == 'busy' and n == 1:
            return self.answer(429, b'{"error": {"message": "slow down"}}', Retry_After='1')
        if kind == 'broken' and n <= 2:
            return self.answer([500, 503][n - 1], b'oops', Retry_After='0')
        if kind == 'cut' and n <= 2:
            if n == 1:
                self.close_connection = True
                return self.connection.close()
            return self.cut(good[:len(good) // 2])
        if kind == 'dead':
            return self.answer(503, b'{"error": {"message": "still loading"}}', Retry_After='0')
        if kind == 'refuses':
            return self.answer(400, b'{"error": {"message": "messages[0] is odd"}}')
        if kind == 'key':
            return self.answer(401, b'{"error": {"message": "wrong key"}}')
        if kind == 'picky' and body['messages'][-1]['content'] == '7':
            time.sleep(0.5)
            return self.answer(401, b'{"error": {"message": "no more credit"}}')
        if kind == 'breaks' or kind == 'odd' and body['messages'][-1]['content'] in '25':
            return self.answer(500, b'{"error": {"message": "list index out of range"}}', Retry_After='0')
        if kind == 'stuck' and body['messages'][-1]['content'] == '2':
            time.sleep(20)
        if kind == 'stuck' and body['messages'][-1]['content'] == '3':
            return self.cut(good[:len(good) // 2])
        if kind == 'stuck' and body['messages'][-1]['content'] == '4':
            self.close_connection = True
            return self.connection.close()
        if kind == 'garbage':
            return self.answer(200, b'{"choices": [')
        if kind == 'bad_stream':
            return self.answer(200, b'data: {"error": {"message": "the engine is gone"}}\n\ndata: [DONE]\n\n')
        if kind == 'echo':
            return self.answer(200, (body['messages'][-1]['content'] if 'messages' in body else body['prompt']).encode())
        if kind == 'lumps':             # four tokens in a chunk, 40 ms apart, and 200 ms later how many there were
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            for wait, chunk in [(0.04 if i else 0, {'choices': [{'index': 0, 'delta': {'content': 'a b c d '}}]}) for i in range(5)] + [
                    (0.2, {'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]}), (0, {'choices': [], 'usage': {'completion_tokens': 20}})]:
                time.sleep(wait)
                self.wfile.write(f'data: {json.dumps(chunk)}\n\n'.encode())
                self.wfile.flush()
            return self.wfile.write(b'data: [DONE]\n\n')
        if kind == 'hangs':
            time.sleep(20)
        if kind in ('slow', 'bytes'):
            self.send_response(200)
            self.send_header('Transfer-Encoding', 'chunked')
            self.end_headers()
            for b in good:
                self.wfile.write(b'1\r\n' + bytes([b]) + b'\r\n')
                if kind == 'slow':
                    time.sleep(0.0005)
            return self.wfile.write(b'0\r\n\r\n')
        self.answer(200, good)

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    def handle_error(self, *a):
        pass

s = Server(('127.0.0.1', 0), Handler)
open(sys.argv[1] + '.new', 'w').write(str(s.server_address[1]))
import os
os.rename(sys.argv[1] + '.new', sys.argv[1])
s.serve_forever()
