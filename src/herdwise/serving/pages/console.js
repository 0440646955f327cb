// The console: asks the endpoint as any client would, and shows the explanation that comes with the answer.
// Everything that a model or a config wrote goes into the page as text, never as markup.

const at = (id) => document.getElementById(id);
let key = "";
let facts = new Map(); // candidate -> what the config states of it
let current = null; // the AbortController of the request under way

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

function headers() {
  return key ? { "content-type": "application/json", authorization: `Bearer ${key}` } : { "content-type": "application/json" };
}

async function problemOf(response) {
  if (response.status === 401) at("key-form").hidden = false;
  try {
    return (await response.json()).error.message;
  } catch {
    return `The endpoint answered with status ${response.status}.`;
  }
}

function tell(problem) {
  at("problem").textContent = problem;
  at("problem").hidden = !problem;
}

const known = (value, digits = 3) => (value === null || value === undefined ? "unknown" : Number(value.toPrecision(digits)).toString());
const percent = (value) => (value === null || value === undefined ? "unknown" : `${(100 * value).toFixed(1)}%`);
const usd = (value) => (value === null || value === undefined ? "unknown" : value === 0 ? "0" : `$${known(value)}`);
const milliseconds = (value) => (value === null || value === undefined ? "unknown" : (1000 * value).toFixed(1));

// Parameters, from billions: 0.0005 is 0.5M.
function size(name) {
  const billions = facts.get(name)?.active_params_b ?? facts.get(name)?.params_b;
  if (billions === null || billions === undefined) return "unknown";
  return billions >= 1 ? `${known(billions)}B` : `${known(billions * 1000)}M`;
}

async function begin() {
  const response = await fetch("v1/models", { headers: headers() });
  if (!response.ok) {
    tell(await problemOf(response));
    return;
  }
  at("key-form").hidden = true;
  tell("");
  const { data } = await response.json();
  facts = new Map(data.filter((model) => model.herdwise).map((model) => [model.id, model.herdwise]));
  const chosen = at("model").value;
  const names = data.map((model) => model.id).filter((name) => name === "auto" || name.startsWith("auto/") || facts.has(name));
  at("model").replaceChildren(...names.map((name) => make("option", name)));
  at("model").value = names.includes(chosen) ? chosen : names[0];
  const told = await fetch("console/examples.json", { headers: headers() });
  const { examples } = told.ok ? await told.json() : { examples: [] };
  at("examples").replaceChildren(...examples.map(chip));
  at("examples").hidden = examples.length === 0;
}

function chip(text) {
  const button = make("button", text);
  button.type = "button";
  button.title = text;
  button.addEventListener("click", () => {
    at("query").value = text;
    at("ask-form").requestSubmit();
  });
  return button;
}

// The data of server-sent events, as they come.
async function* events(body) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of pieces(body)) {
    rest += decoder.decode(bytes, { stream: true });
    const parts = rest.split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

async function* pieces(body) {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

async function ask(query) {
  current = new AbortController();
  const goals = {};
  if (at("cost-weight").value !== "") goals.cost_weight = Number(at("cost-weight").value);
  const begun = performance.now();
  const response = await fetch("v1/chat/completions", {
    method: "POST",
    headers: { ...headers(), "x-herdwise-explain": "1" },
    signal: current.signal,
    body: JSON.stringify({ model: at("model").value, stream: true, messages: [{ role: "user", content: query }], herdwise: goals }),
  });
  if (!response.ok) throw new Error(await problemOf(response));
  at("result").hidden = false;
  let text = "";
  let explanation = null;
  for await (const chunk of events(response.body)) {
    if (chunk.error) throw new Error(chunk.error.message);
    text += chunk.choices?.[0]?.delta?.content ?? "";
    explanation = chunk.herdwise ?? explanation;
    at("answer").textContent = text;
  }
  const elapsed = performance.now() - begun;
  if (explanation) show(query, text, explanation, elapsed);
}

function show(query, text, told, elapsed) {
  const cards = [
    ["Answered by", told.candidate],
    ["Size", size(told.candidate)],
    ["Asked", `${told.attempts.length} of ${told.scores.length || facts.size}`],
    ["Cost", usd(told.cost_usd)],
    ["Time", `${elapsed.toFixed(0)} ms`],
    ["Deciding", `${known(told.overhead_ms)} ms`],
    ["Policy", told.policy],
  ];
  at("facts").replaceChildren(
    ...cards.map(([name, value]) => {
      const card = make("div");
      card.append(make("dt", name), make("dd", value));
      return card;
    }),
  );
  at("reason").textContent = [told.reason, told.ranking].filter(Boolean).join("; ");
  at("why").replaceChildren(...asked(told), ...predicted(told), ...neighbours(told));
  const row = at("history").insertRow(0);
  for (const value of [query, text, told.candidate]) row.append(make("td", value, "text"));
  row.append(make("td", elapsed.toFixed(0), "n"), make("td"));
  at("earlier").hidden = false;
  thumbs(told.decision_id, row.lastChild);
}

function thumbs(decision, mark) {
  at("thumbs").hidden = false;
  at("thanked").textContent = "";
  for (const [id, said] of [["up", "up"], ["down", "down"]]) {
    at(id).disabled = false;
    at(id).onclick = async () => {
      at("up").disabled = at("down").disabled = true;
      const response = await fetch("v1/feedback", {
        method: "POST",
        headers: headers(),
        body: JSON.stringify({ decision_id: decision, thumbs: said }),
      });
      at("thanked").textContent = response.ok ? "Noted." : await problemOf(response);
      at("up").disabled = at("down").disabled = response.ok;
      if (response.ok) mark.textContent = said === "up" ? "\u{1F44D}" : "\u{1F44E}";
    };
  }
}

function table(title, columns, rows) {
  const box = make("div", "", "scroll");
  const body = make("table");
  const head = body.createTHead().insertRow();
  for (const [name, className] of columns) head.append(make("th", name, className ?? ""));
  const lines = body.createTBody();
  for (const { cells, className, share } of rows) {
    const line = lines.insertRow();
    line.className = className ?? "";
    cells.forEach((cell, i) => line.append(make("td", cell, columns[i][1] ?? "")));
    if (share !== undefined) {
      line.cells[1].classList.add("bar");
      line.cells[1].style.setProperty("--share", `${100 * share}%`);
    }
  }
  box.append(body);
  return [make("h3", title), box];
}

function asked(told) {
  return table(
    "Who was asked",
    [["Candidate"], ["Status"], ["Said", "text"], ["ms", "n"], ["Cost", "n"]],
    told.attempts.map((attempt) => ({
      className: attempt.candidate === told.candidate ? "answered" : "",
      cells: [attempt.candidate, attempt.error ?? attempt.status, attempt.value ?? "", milliseconds(attempt.latency_s), usd(attempt.cost_usd)],
    })),
  );
}

function predicted(told) {
  if (!told.scores.length) return [];
  return table(
    `Who was predicted good (${told.origin === "router" ? "by the trained router" : "as the config declares"})`,
    [["Candidate"], ["Quality", "n"], ["Utility", "n"], ["Cost", "n"], ["Size", "n"], ["Passed over because"]],
    told.scores.map((score) => ({
      className: score.candidate === told.candidate ? "answered" : score.removed ? "removed" : "",
      share: score.quality ?? 0,
      cells: [
        score.candidate,
        percent(score.quality),
        score.utility === null ? "" : known(score.utility),
        usd(score.cost_usd),
        size(score.candidate),
        score.removed ?? "",
      ],
    })),
  );
}

function neighbours(told) {
  if (!told.neighbours.length) return [];
  return table(
    "Nearest recorded queries",
    [["Query", "text"], ["Likeness", "n"], ["Right"]],
    told.neighbours.map((near) => ({
      cells: [
        near.text,
        known(near.similarity, 2),
        Object.entries(near.outcomes).filter(([, quality]) => quality >= 0.5).map(([name]) => name).join(", ") || "nobody",
      ],
    })),
  );
}

at("ask-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const query = at("query").value.trim();
  if (!query || current) return;
  tell("");
  at("answer").textContent = "";
  at("thumbs").hidden = true;
  at("reason").textContent = "";
  at("facts").replaceChildren();
  at("why").replaceChildren();
  at("ask").disabled = true;
  at("stop").hidden = false;
  try {
    await ask(query);
  } catch (error) {
    tell(error.name === "AbortError" ? "Stopped." : error.message);
  } finally {
    current = null;
    at("ask").disabled = false;
    at("stop").hidden = true;
  }
});
at("stop").addEventListener("click", () => current?.abort());
at("query").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask-form").requestSubmit();
});
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  begin().catch((error) => tell(error.message));
});
begin().catch((error) => tell(error.message));
