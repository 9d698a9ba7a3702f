// The last part: everything is defined now.

listKeys();
chooseTool("object");
watch("value", () => {
  show(props.value);
  if (props.value && mode === "live") showCamera(props.value);
});
if (props.value && props.value.width) show(props.value);
new ResizeObserver(() => state.message && showMarks(state.message)).observe(frame);
