// Live progress: one stream of server-sent events for each part of a page that asks for it.
"use strict";

function seconds(left) {
  if (left === null || left === undefined) return "";
  return left < 90 ? `, about ${Math.round(left)} s left` : `, about ${Math.round(left / 60)} min left`;
}

function follow(section) {
  const bar = section.querySelector("progress");
  const words = section.querySelector(".words");
  let source = null;
  let stage = "";

  function listen() {
    source = new EventSource(section.dataset.progress);
    source.onmessage = (message) => {
      const event = JSON.parse(message.data);
      if (event.done !== null && event.total) bar.value = event.done / event.total;
      else if (event.stage !== stage) bar.removeAttribute("value");
      const told = event.event === "error" ? ": it failed, its folder says why" : seconds(event.seconds_left);
      words.textContent = `${event.stage || "begins"}${told}`;
      stage = event.stage;
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) words.textContent = "no live progress now: load the page again later";
    };
    source.addEventListener("finished", () => {
      source.close();
      window.location.reload();
    });
  }

  // A browser has six connections to a server: pages that nobody looks at hold none of them.
  document.addEventListener("visibilitychange", () => {
    source.close();
    if (!document.hidden) listen();
  });
  listen();
}

document.querySelectorAll("[data-progress]").forEach(follow);
// Whether somebody types, or waits for a preview: what they would lose with the page.
function busy() {
  const typed = (field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked;
  return [...document.querySelectorAll("main input, main textarea")].some(typed) || document.querySelector(".htmx-request") !== null;
}

// A request whose run has not begun: look now and then, and show the page anew when it has.
document.querySelectorAll("[data-watch]").forEach((place) => {
  setInterval(async () => {
    if (document.hidden) return;
    const answer = await fetch(place.dataset.watch);
    if (!answer.ok) return;
    const now = await answer.json();
    if (now.state === place.dataset.state && !now.run) return;
    if (busy()) place.textContent = "This request has moved on: load the page again when you are done here.";
    else window.location.reload();
  }, 2000);
});
document.querySelectorAll("[data-stops]").forEach((button) => {
  button.addEventListener("click", () => htmx.trigger(button.dataset.stops, "htmx:abort"));
});
