"""Components: code of the component model, loaded, linked and called. Imported when there is one."""
