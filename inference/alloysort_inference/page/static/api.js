// The service: JSON in and out, with a token where the line asks for one.

const KEY = "alloysort token";
let asking = null;

async function ask() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("ask");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, document.getElementById("token").value.trim());
      asking = null;
      resolve();
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
  return asking;
}

async function send(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) {
    await ask();
    return send(path, options);
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Error(told.detail || `${response.status} ${response.statusText}`);
  }
  return response;
}

export const get = async (path) => (await send(path)).json();

export const post = async (path, body) =>
  (await send(path, {
    method: "POST",
    ...(body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }),
  })).json();

/** Show a picture that may need a token; where there is none, nothing is shown. */
export async function show(image, path) {
  if (!sessionStorage.getItem(KEY)) {
    image.src = path;
    return;
  }
  try {
    const blob = URL.createObjectURL(await (await send(path)).blob());
    image.addEventListener("load", () => URL.revokeObjectURL(blob), { once: true });
    image.src = blob;
  } catch {
    image.hidden = true;
  }
}
