/* Search from the disk: a page that was opened as a file may start no worker. Its script then runs in a hidden frame,
   which speaks with the page as a worker would. Elsewhere this does nothing. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      document.body.appendChild(this.frame)
      const inner = this.frame.contentWindow
      inner.document.open()
      inner.document.write("<!doctype html><body></body>")
      inner.document.close()
      inner.importScripts = (...urls) => urls.reduce((before, one) => before.then(() => this.load(one)), Promise.resolve())
      inner.postMessage = data => {
        const event = new MessageEvent("message", { data })
        this.dispatchEvent(event)
        if (this.onmessage) this.onmessage(event)
      }
      this.base = new URL(url, document.baseURI)
      this.ready = this.load(this.base)
    }

    load(url) {
      const script = this.frame.contentDocument.createElement("script")
      script.src = new URL(url, this.base)
      this.frame.contentDocument.body.appendChild(script)
      return new Promise(resolve => (script.onload = resolve))
    }

    postMessage(data) {
      this.ready.then(() => {
        const inner = this.frame.contentWindow
        const event = new inner.MessageEvent("message", { data })
        inner.dispatchEvent(event)
      })
    }

    terminate() {
      this.frame.remove()
    }
  }
}
