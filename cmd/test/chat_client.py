"""chat_client.py KSERVE MODEL: kserve --chat in a pseudo terminal. "ok NAME" a line for what holds, "NAME: why" for what does not."""
import os
import pty
import select
import signal
import sys
import termios
import time
import traceback

KSERVE, MODEL = sys.argv[1:3]
STATE = os.path.join(os.environ['K_SCRATCH'], 'state')
HISTORY = os.path.join(STATE, 'ktools', 'chat_history')
WISDOM = 'Wisdom means: accumulated knowledge or erudition or enlightenment.'
SLOW = 'Say it again and again. ' * 900


class Terminal:
    def __init__(self, **env):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.environ.update({'XDG_STATE_HOME': STATE, 'TERM': 'xterm', **env})
            os.execvp(KSERVE, [KSERVE, '--chat', '-q', '--act', 'f32', MODEL])
        self.seen = ''

    def until(self, text, wait=30):
        """What came up to text; it is taken away."""
        end = time.monotonic() + wait
        while text not in self.seen:
            if time.monotonic() > end:
                raise AssertionError(f'{text!r} does not come: {self.seen[-300:]!r}')
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    got = os.read(self.fd, 65536)
                except OSError:
                    got = b''
                if not got:
                    raise AssertionError(f'it has ended: {self.seen[-300:]!r}')
                self.seen += got.decode(errors='replace')
        before, self.seen = self.seen.split(text, 1)
        return before

    def prompt(self):
        """It is shown a moment before keys are keys."""
        self.until('> ')
        end = time.monotonic() + 10
        while termios.tcgetattr(self.fd)[3] & termios.ICANON and time.monotonic() < end:
            time.sleep(0.01)

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """The exit status; what it still says is read away."""
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    os.read(self.fd, 65536)
                except OSError:
                    time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)
        raise AssertionError('it does not end')


def answers_and_ends():
    t = Terminal()
    t.prompt()
    t.type('Define wisdom.\r')
    t.until(WISDOM)
    t.until('tokens/s')
    t.prompt()
    t.type('\x04')
    assert t.end() == 0
    assert 'Define' in open(HISTORY).read() and os.stat(HISTORY).st_mode & 0o77 == 0


def interrupted():
    t = Terminal()
    t.prompt()
    t.type('half a line\x03')            # takes the line back
    t.prompt()
    t.type(f'/load {LONG}\r')
    t.prompt()
    t.type('Go on.\r')
    time.sleep(0.4)
    t.type('\x03')
    t.until('(stopped)')
    t.prompt()
    t.type('/reset\r')
    t.prompt()
    t.type('Define wisdom.\r')
    t.until(WISDOM)
    t.prompt()
    t.type('/quit\r')
    assert t.end() == 0


def remembers():
    t = Terminal()
    t.prompt()
    t.type('Define wisdom.\r')
    t.until(WISDOM)
    t.prompt()
    t.type('/quit\r')
    assert t.end() == 0
    t = Terminal()
    t.prompt()
    t.type('\x1b[A\x1b[A\r')             # the line before /quit, of the run before
    t.until(WISDOM)
    t.prompt()
    t.type('\x04')
    assert t.end() == 0


def pasted():
    t = Terminal()
    t.prompt()
    t.type('\x1b[200~Define\rwisdom.\r\x1b[201~')
    time.sleep(0.2)
    t.type('\r')
    t.until('tokens/s')
    t.prompt()
    t.type(f'/save {STATE}/pasted\r')
    t.prompt()
    t.type('\x04')
    assert t.end() == 0
    assert 'Define\\nwisdom.' in open(f'{STATE}/pasted').read(), open(f'{STATE}/pasted').read()


def colours():
    t = Terminal(NO_COLOR='1')
    t.prompt()
    t.type('Define wisdom.\r')
    t.until(WISDOM)
    assert '\x1b[2m' not in t.until('tokens/s')
    t.prompt()
    t.type('\x04')
    t.end()


def terminated():
    t = Terminal()
    t.prompt()
    os.kill(t.pid, signal.SIGTERM)
    got = t.end()
    assert got == 143, got


LONG = os.path.join(os.environ['K_SCRATCH'], 'long.json')
with open(LONG, 'w') as f:
    f.write('{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "Yes."}]}' % SLOW)
for check in (answers_and_ends, interrupted, remembers, pasted, colours, terminated):
    try:
        check()
        print('ok', check.__name__, flush=True)
    except Exception as e:
        line = next((t.lineno for t in reversed(traceback.extract_tb(e.__traceback__)) if t.filename == __file__), 0)
        print(f'{check.__name__}: line {line}: {type(e).__name__}: {e}'.replace('\n', ' ')[:500], flush=True)
