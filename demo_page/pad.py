"""A pad to draw on: a canvas of our own, since Gradio's sketchpad forgets its brush after each drawing."""

import gradio as gr

# Its value is a PNG as a data URL. One that the program sets, such as an uploaded drawing, is shown.
SCRIPT = """
const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d");
function wipe() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, 280, 280);
}
function line(event) {
  pen.lineTo(event.offsetX, event.offsetY);
  pen.stroke();
}
canvas.onpointerdown = event => {
  if (canvas.dataset.answered) wipe();  // the next drawing after an answer
  delete canvas.dataset.answered;
  canvas.setPointerCapture(event.pointerId);
  pen.fillStyle = "black";
  pen.beginPath();
  pen.arc(event.offsetX, event.offsetY, 6, 0, 2 * Math.PI);  // a touch alone is a dot
  pen.fill();
  pen.beginPath();
  pen.moveTo(event.offsetX, event.offsetY);
};
canvas.onpointermove = event => { if (canvas.hasPointerCapture(event.pointerId)) line(event); };
canvas.onpointerup = canvas.onpointercancel = () => { props.value = canvas.toDataURL(); };
watch("value", () => {
  if (!props.value) wipe();
  if (!props.value || props.value === canvas.toDataURL()) return;
  const image = new Image();
  image.onload = () => { pen.imageSmoothingEnabled = false; pen.drawImage(image, 0, 0, 280, 280); };
  image.src = props.value;
  delete canvas.dataset.answered;
});
Object.assign(pen, { lineWidth: 12, lineCap: "round", lineJoin: "round" });
wipe();
canvas.style.cursor = "crosshair";  // the pad is ready
"""
NAME = "Drawing pad for mouse, pen or finger. By keyboard, upload a drawing with the button below it."
CANVAS = f'<canvas width="280" height="280" tabindex="0" role="img" aria-label="{NAME}"></canvas>'
# After an answer: (sentence, answer) as they are now.
ANSWERED = """(answer) => {
  if (answer) document.querySelector("#pad canvas").dataset.answered = "yes";
}"""


def make_pad() -> gr.HTML:
    """Makes the pad, 280 pixels wide and high."""
    return gr.HTML(
        html_template=CANVAS,
        css_template="canvas { border: 2px solid #888; border-radius: 8px; touch-action: none; }",
        js_on_load=SCRIPT,
        elem_id="pad",
    )
