/* theme.js: light or dark as chosen here, before anything is drawn; without a choice the system's. */
(() => {
	let theme = null;
	try {
		theme = localStorage.getItem('theme');
	} catch {
		/* A browser that keeps nothing. */
	}
	if (theme === 'light' || theme === 'dark')
		document.documentElement.dataset.theme = theme;
})();
