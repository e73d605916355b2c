#!/usr/bin/env python3
"""Shows pages in a headless Chromium and measures what a reader would see.

    browser_check.py [--keep FOLDER] PAGE...

For every page, at 1280 and 390 pixels of width, light and dark, and in print: no message on the console, no request beside the page
itself, no text cut off (every text lies within its drawing, and within the window or something that scrolls), no two texts of a drawing
on each other, enough contrast. --keep leaves a picture of each view and the printed page. Exit 0: good; 1: problems, one a line; 77: no
browser (named by $LOCKSTEP_BROWSER, or found in PATH). Speaks the DevTools protocol over a pipe, with the standard library alone.
"""
# SPDX-License-Identifier: Apache-2.0
import argparse
import base64
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LONGEST_S = 240  # of a browser that hangs
PRINT_WIDTH = 688  # A4 less margins of 14 mm, at 96 dots an inch

# Runs in the page. Returns a list of problems.
MEASURE = r"""(() => {
  const problems = [], seen = new Set();
  const tell = text => { if (problems.length < 40 && !seen.has(text)) { seen.add(text); problems.push(text); } };
  const width = document.documentElement.clientWidth, slack = 0.75;
  const name = element => `${element.tagName.toLowerCase()} "${element.textContent.slice(0, 60)}"`;
  const shown = element => element.getClientRects().length > 0;
  if (document.documentElement.scrollWidth > width) tell(`the page is ${document.documentElement.scrollWidth} wide in a window of ${width}`);

  const luminance = colour => {
    const [r, g, b] = colour.match(/[\d.]+/g).map(Number).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$|transparent/.test(c)) return c; }
    return 'rgb(255, 255, 255)';
  };
  // A heatmap's texts stand on the cell that lies under their middle.
  const cell = (drawing, box) => [...drawing.querySelectorAll('rect')].reverse().find(rect => {
    const r = rect.getBoundingClientRect(), x = (box.left + box.right) / 2, y = (box.top + box.bottom) / 2;
    return rect.getAttribute('fill') !== 'none' && r.left <= x && r.right >= x && r.top <= y && r.bottom >= y;
  });

  let texts = 0;
  for (const drawing of document.querySelectorAll('svg')) {
    if (!shown(drawing)) continue;
    const frame = drawing.getBoundingClientRect(), boxes = [];
    const label = `chart "${(drawing.getAttribute('aria-label') || '').slice(0, 40)}"`;
    if (frame.right > width + slack) tell(`${label}: beyond the window`);
    for (const text of drawing.querySelectorAll('text')) {
      const box = text.getBoundingClientRect();
      if (box.width === 0) continue;
      ++texts;
      const what = `${label}: ${name(text)}`;
      if (box.left < frame.left - slack || box.right > frame.right + slack || box.top < frame.top - slack || box.bottom > frame.bottom + slack)
        tell(`${what} is cut off: ${[box.left, box.right, box.top, box.bottom]} of ${[frame.left, frame.right, frame.top, frame.bottom]}`);
      for (const [other, b] of boxes)
        if (box.left < b.right - 1 && box.right > b.left + 1 && box.top < b.bottom - 3 && box.bottom > b.top + 3)
          tell(`${what} is on ${name(other)}`);
      boxes.push([text, box]);
      const under = cell(drawing, box), ground = under ? getComputedStyle(under).fill : behind(drawing);
      const ratio = contrast(getComputedStyle(text).fill, ground);
      if (ratio < 4.5) tell(`${what} has a contrast of ${ratio.toFixed(2)}`);
    }
    for (const mark of drawing.querySelectorAll('.m, .l')) {
      const ratio = contrast(getComputedStyle(mark).color, behind(drawing));
      if (ratio < 1.9) tell(`${label}: a mark has a contrast of ${ratio.toFixed(2)}`);
    }
  }
  for (const element of document.querySelectorAll('h1, h2, h3, p, nav a, summary, th, td, pre')) {
    if (!shown(element)) continue;
    ++texts;
    const box = element.getBoundingClientRect();
    const scrolls = element.closest('.scroll, pre') && !matchMedia('print').matches;
    if (!scrolls && (box.right > width + slack || box.left < -slack)) tell(`${name(element)} is beyond the window: ${box.right} of ${width}`);
    if (!scrolls && element.tagName !== 'A' && element.clientWidth > 0 && element.scrollWidth > element.clientWidth + 1)
      tell(`${name(element)} is wider than its place`);
    const ratio = contrast(getComputedStyle(element).color, behind(element));
    if (ratio < 4.5) tell(`${name(element)} has a contrast of ${ratio.toFixed(2)}`);
  }
  if (texts === 0) tell('the page shows no text');
  return problems;
})()"""


def find_browser():
    named = os.environ.get("LOCKSTEP_BROWSER")
    for name in (named,) if named else NAMES:
        path = shutil.which(name)
        if path:
            return path
    return None


class Browser:
    """A browser process. The protocol's messages end with a zero byte; it reads file descriptor 3 and writes 4."""

    def __init__(self, program, profile):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
                 "--disable-extensions", "--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={profile}"]

        def pipes():
            # Aside first: either may be 3 or 4 already.
            source, target = os.dup2(to_browser, 20), os.dup2(from_browser, 21)
            os.dup2(source, 3)
            os.dup2(target, 4)

        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([program, *flags, "about:blank"], preexec_fn=pipes, close_fds=False, **quiet)
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._next_id = 0
        self.events = []

    def _message(self):
        while b"\0" not in self._buffer:
            part = os.read(self._read, 1 << 20)
            if not part:
                sys.exit("browser_check: the browser has ended")
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        self._next_id += 1
        request = {"id": self._next_id, "method": method, "params": params}
        if session:
            request["sessionId"] = session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data):]
        while True:
            message = self._message()
            if message.get("id") == self._next_id:
                if "error" in message:
                    sys.exit(f"browser_check: {method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def wait_for(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._message())

    def close(self):
        self._process.terminate()
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)


def spoken(events, page):
    """What the page said on the console or asked the network for."""
    problems = []
    for event in events:
        params = event.get("params", {})
        if event.get("method") == "Log.entryAdded":
            problems.append(f"console: {params['entry']['text']}")
        elif event.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            problems.append(f"console: {json.dumps(params)[:200]}")
        elif event.get("method") == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if url != page and not url.startswith("data:"):
                problems.append(f"asks for {url}")
    return problems


def check(browser, page, keep):
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    call = lambda method, **params: browser.call(method, session, **params)
    for domain in ("Page", "Runtime", "Log", "Network"):
        call(f"{domain}.enable")
    problems = []
    views = [(width, colours, "screen") for width in (1280, 390) for colours in ("light", "dark")] + [(PRINT_WIDTH, "light", "print")]
    for width, colours, medium in views:
        view = f"{page.name} at {width} {colours} {medium}"
        browser.events.clear()
        call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        call("Emulation.setEmulatedMedia", media=medium, features=[{"name": "prefers-color-scheme", "value": colours}])
        call("Page.navigate", url=page.as_uri())
        browser.wait_for("Page.loadEventFired")
        result = call("Runtime.evaluate", expression=MEASURE, returnByValue=True)["result"]
        found = result["value"] if "value" in result else [f"the measurement failed: {result.get('description')}"]
        problems += [f"{view}: {problem}" for problem in found + spoken(browser.events, page.as_uri())]
        if keep:
            size = call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": width, "height": min(size["height"], 16000), "scale": 1}
            picture = call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)["data"]
            (keep / f"{page.stem}_{width}_{colours}_{medium}.png").write_bytes(base64.b64decode(picture))
    pdf = base64.b64decode(call("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])
    if not pdf.startswith(b"%PDF") or len(pdf) < 2000:
        problems.append(f"{page.name}: the print is no PDF or empty ({len(pdf)} bytes)")
    if keep:
        (keep / f"{page.stem}.pdf").write_bytes(pdf)
    browser.call("Target.closeTarget", targetId=target)
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path)
    args = parser.parse_args()
    program = find_browser()
    if not program:
        print("no browser: want one of " + ", ".join(NAMES))
        return 77
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    problems = []
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"browser_check: no end after {LONGEST_S} s"))
    signal.alarm(LONGEST_S)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            for page in args.pages:
                problems += check(browser, page.resolve(), args.keep)
        finally:
            browser.close()
    print("\n".join(problems) if problems else f"{len(args.pages)} pages are good")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
