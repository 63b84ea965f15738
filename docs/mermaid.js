// Draws the Mermaid pictures of the book, as GitHub does. Without a network their text is shown.
const pictures = document.querySelectorAll("code.language-mermaid");
if (pictures.length > 0) {
    import("https://cdn.jsdelivr.net/npm/mermaid@11.17.2/dist/mermaid.esm.min.mjs").then(({ default: mermaid }) => {
        for (const code of pictures) {
            const picture = document.createElement("pre");
            picture.className = "mermaid";
            picture.textContent = code.textContent;
            code.parentElement.replaceWith(picture);
        }
        mermaid.initialize({ startOnLoad: false });
        return mermaid.run();
    });
}
