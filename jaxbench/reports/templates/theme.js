// Light, dark, or as the system is: the choice is kept where the browser allows it.
{
  const THEMES = ["", "light", "dark"];
  const words = { "": "Colours: as the system", light: "Colours: light", dark: "Colours: dark" };
  const root = document.documentElement;
  const toggle = document.createElement("button");
  toggle.type = "button";
  toggle.className = "theme";
  toggle.textContent = words[root.dataset.theme] ?? words[""];
  toggle.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "") + 1) % THEMES.length];
    root.dataset.theme = next;
    toggle.textContent = words[next];
    try {
      localStorage.setItem("jaxbench-theme", next);
    } catch {
      // The choice holds until the page is left.
    }
  });
  document.querySelector("header .wrap").prepend(toggle);
}
