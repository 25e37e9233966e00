"""The layouts of the four questions."""

from reproduction.layouts import q1_dcgan, q2_protonet, q3_pix2pix, q4_darts

LAYOUTS = {module.LAYOUT.question: module.LAYOUT for module in (q1_dcgan, q2_protonet, q3_pix2pix, q4_darts)}
