// Draws the figures of a report on several runs.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const draw = () => window.ReportPlots.drawFigures(data.figures);
  draw();
  window.ReportPlots.follow(draw);
  window.ReportPlots.offer(document.getElementById("download"), "alchemc-campaign.json", data);
})();
