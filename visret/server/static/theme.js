// Before anything is painted: the theme that was chosen here the last time, and whether pages are bright in the dark.
try {
  for (const [name, values] of [["theme", ["dark", "light"]], ["pages", ["bright"]]]) {
    const chosen = localStorage.getItem(`visret-${name}`);
    if (values.includes(chosen)) document.documentElement.dataset[name] = chosen;
  }
} catch {} // storage is switched off: the theme is that of the system
