// The explorer of a run: one panel per model on the same axes; what is picked in one is marked in all.
"use strict";

const COLOURS = { original: "#0072B2", unlearned: "#D55E00", retrained: "#009E73" };

function limits(points) {
  const every = Object.values(points).flatMap((parts) => [...(parts.gone || []), ...(parts.unseen || [])]);
  const ends = [0, 1].map((k) => [Math.min(...every.map((p) => p[k])), Math.max(...every.map((p) => p[k]))]);
  const half = 0.58 * Math.max(...ends.map(([low, high]) => high - low), 1e-6);
  return ends.map(([low, high]) => [(low + high) / 2 - half, (low + high) / 2 + half]);
}

function option(model, data, axes, dark) {
  const ink = dark ? "#e6e6e6" : "#222";
  const axis = ([min, max]) => ({ min, max, axisLine: { show: false }, axisLabel: { show: false }, axisTick: { show: false }, splitLine: { show: false } });
  const parts = data.points[model];
  const colour = COLOURS[model];
  const series = (name, points, more) => ({ name, type: "scatter", data: points || [], symbolSize: 6, animation: false, ...more });
  return {
    aria: { enabled: true, label: { description: `Feature map of the ${model} model: ${(parts.gone || []).length} forgotten, ${(parts.unseen || []).length} unseen and ${(parts.retain || []).length} retained images.` } },
    title: { text: model, left: "center", textStyle: { fontSize: 13, color: ink } },
    grid: { left: 8, right: 8, top: 28, bottom: 8 },
    xAxis: axis(axes[0]),
    yAxis: axis(axes[1]),
    series: [
      series("retained", parts.retain, { itemStyle: { color: "#888", opacity: 0.25 }, symbolSize: 3, silent: true }),
      series("unseen", parts.unseen, { itemStyle: { color: "transparent", borderColor: colour, borderWidth: 1.2 }, silent: true }),
      series("forgotten", parts.gone, { itemStyle: { color: colour, opacity: 0.75 } }),
      series("picked", [], { symbol: "circle", symbolSize: 16, silent: true, z: 5, itemStyle: { color: "transparent", borderColor: ink, borderWidth: 2.5 } }),
    ],
  };
}

function draw(section, data) {
  const place = section.querySelector(".maps");
  const picked = section.querySelector(".picked");
  const list = section.querySelector("select");
  if (!data.models.length) {
    place.textContent = "This run has kept no feature map.";
    list.disabled = true;
    return;
  }
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const axes = limits(data.points);
  const panels = data.models.map(() => {
    const panel = document.createElement("div");
    panel.className = "panel";
    place.append(panel);
    return panel;
  });
  // When all are there: a chart is as large as its panel was, and each one more makes the others narrower.
  const charts = data.models.map((model, k) => {
    const chart = echarts.init(panels[k], null, { renderer: "canvas" });
    chart.setOption(option(model, data, axes, dark));
    chart.on("mouseover", { seriesName: "forgotten" }, (at) => show(at.dataIndex));
    chart.on("click", { seriesName: "forgotten" }, (at) => pick(at.dataIndex));
    return chart;
  });
  window.addEventListener("resize", () => charts.forEach((chart) => chart.resize()));

  function show(n) {
    const kept = data.overlap[n];
    picked.textContent = `forgotten image ${n + 1}${kept === undefined ? "" : `: keeps ${Math.round(100 * kept)} % of its neighbours`} `;
    const address = data.pictures[n];
    if (address) {
      const image = new Image();
      image.src = address;
      image.alt = `forgotten image ${n + 1}`;
      picked.append(image);
    } else {
      picked.append(Object.keys(data.pictures).length ? "(no picture of it was kept)" : "(this run keeps no pictures)");
    }
  }

  function pick(n) {
    list.value = String(n);
    data.models.forEach((model, k) => charts[k].setOption({ series: [{}, {}, {}, { data: [data.points[model].gone[n]] }] }));
    show(n);
  }

  (data.points[data.models[0]].gone || []).forEach((_, n) => list.append(new Option(`image ${n + 1}`, n)));
  list.addEventListener("change", () => list.value !== "" && pick(Number(list.value)));
  const shares = data.models.filter((m) => m in data.outside).map((m) => `${m} ${Math.round(100 * data.outside[m])} %`);
  section.querySelector(".outside").textContent = shares.length ? `A move out of the plane is invisible here; outside it lies, of the variance: ${shares.join(", ")}.` : "";
}

document.querySelectorAll("[data-map]").forEach((section) => {
  const none = () => { section.querySelector(".maps").textContent = "The feature map cannot be had now: load the page again later."; };
  fetch(section.dataset.map)
    .then((answer) => (answer.ok ? answer.json().then((data) => draw(section, data)) : none()))
    .catch(none);
});
