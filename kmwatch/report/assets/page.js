"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const charts = [];
  const SEVERITIES = ["critical", "high", "medium", "low", "informational"];
  const span = Math.max(1, data.to - data.from);
  const pad = (number) => String(number).padStart(2, "0");

  function clock(ms, exact) {
    const at = new Date(ms);
    const day = `${at.getUTCFullYear()}-${pad(at.getUTCMonth() + 1)}-${pad(at.getUTCDate())}`;
    const time = `${pad(at.getUTCHours())}:${pad(at.getUTCMinutes())}`;
    const second = `${time}:${pad(at.getUTCSeconds())}`;
    if (exact) return `${day} ${second}`;
    if (span > 3 * 86400e3) return day;
    if (span > 86400e3) return `${day.slice(5)} ${time}`;
    return span > 1800e3 ? time : second;
  }

  function round(ms) {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
      172800, 604800, 1209600, 2592000, 7776000, 31536000];
    return 1000 * (steps.find((step) => step * 8000 >= ms) || Math.ceil(ms / 8000 / 31536000) * 31536000);
  }

  function draw() {
    while (charts.length) charts.pop().destroy();
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    Chart.defaults.color = colour("dim");
    Chart.defaults.borderColor = colour("line");
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.font.size = 12;
    Chart.defaults.animation = false;
    Chart.defaults.maintainAspectRatio = false;
    Chart.defaults.devicePixelRatio = Math.max(2, window.devicePixelRatio || 1);
    const margin = span * 0.015;
    const time = {
      type: "linear", min: data.from - margin, max: data.to + margin, grid: { color: colour("line") },
      afterBuildTicks: (axis) => {
        const step = round(axis.max - axis.min);
        axis.ticks = [];
        for (let at = Math.ceil(axis.min / step) * step; at <= axis.max; at += step) axis.ticks.push({ value: at });
      },
      ticks: { callback: (value) => clock(value), maxRotation: 0, autoSkipPadding: 18 },
    };
    const tooltip = {
      backgroundColor: colour("ink"), titleColor: colour("card"), bodyColor: colour("card"), padding: 10,
      cornerRadius: 6, boxPadding: 4,
    };
    const legend = { position: "top", align: "end", labels: { boxWidth: 11, boxHeight: 11, useBorderRadius: true, borderRadius: 2 } };
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = `12px ${Chart.defaults.font.family}`;
    const narrow = document.body.clientWidth < 700;
    const named = (rule) => (narrow ? rule.split(" ", 1)[0] : rule);
    const room = Math.ceil(Math.max(30, ...data.rules.map((rule) => pen.measureText(named(rule)).width))) + 18;
    const axis = { afterFit: (scale) => { scale.width = room; }, ticks: { crossAlign: "far" } };
    const findings = document.getElementById("chart-findings");
    if (findings) {
      findings.parentElement.style.height = `${Math.max(150, 76 + (matchMedia("print").matches ? 19 : 26) * data.rules.length)}px`;
      const sets = SEVERITIES.map((severity) => ({
        label: severity, backgroundColor: colour(`sev-${severity}`) + "cc", borderColor: colour("card"), borderWidth: 1,
        borderRadius: 3, borderSkipped: false, minBarLength: 9, grouped: false, barThickness: 15,
        data: data.findings.filter((one) => one.severity === severity)
          .map((one) => ({ x: [one.start, one.end], y: data.rules[one.rule], of: one })),
      })).filter((set) => set.data.length);
      charts.push(new Chart(findings, {
        type: "bar", data: { labels: data.rules, datasets: sets },
        options: {
          indexAxis: "y",
          scales: {
            x: time,
            y: {
              ...axis, grid: { display: false }, type: "category",
              ticks: { ...axis.ticks, callback: (value) => named(data.rules[value]) },
            },
          },
          plugins: {
            legend,
            tooltip: {
              ...tooltip, callbacks: {
                title: (items) => items.length ? items[0].raw.y : "",
                label: (item) => `${clock(item.raw.of.start, true)}, ${item.raw.of.requests} requests`,
                afterLabel: (item) => item.raw.of.lines,
              },
            },
          },
          onClick: (_, hit) => {
            if (hit.length) location.hash = `f${sets[hit[0].datasetIndex].data[hit[0].index].of.number}`;
          },
        },
      }));
    }
    const width = data.bucket;
    const series = (label, name, key) => ({
      label, backgroundColor: colour(name), stack: "reads", barPercentage: 1, categoryPercentage: 0.92,
      data: data.reads.map((one) => ({ x: one.at + width / 2, y: one[key] })),
    });
    charts.push(new Chart(document.getElementById("chart-reads"), {
      type: "bar",
      data: {
        datasets: [series("explained", "u3", "explained"), series("cannot be decided", "warn", "undecided"),
          series("unexplained", "bad", "unexplained")].filter((set, at) => at !== 1 || set.data.some((one) => one.y)),
      },
      options: {
        interaction: { mode: "index", intersect: false },
        scales: {
          x: { ...time, stacked: true, offset: false },
          y: { ...axis, stacked: true, beginAtZero: true, grid: { color: colour("line") }, ticks: { precision: 0, maxTicksLimit: 5 } },
        },
        plugins: {
          legend,
          tooltip: { ...tooltip, callbacks: { title: (items) => items.length ? `${clock(items[0].raw.x - width / 2, true)}, retrievals` : "" } },
        },
      },
    }));
  }

  draw();
  for (const query of ["(prefers-color-scheme: dark)", "print", "(max-width: 700px)"]) {
    matchMedia(query).addEventListener("change", draw);
  }
})();
