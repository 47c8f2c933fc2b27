"""XMP packets, changed by an XML parser: what is no longer true goes, and a painted picture says what it is.

A packet is RDF in XML (ISO 16684-1): properties are elements or attributes, known by namespace and name. Packets come
from strangers: document types, and with them entities, are refused, as is what is too long or too deep. What needs no
change stays byte for byte.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple
from xml.dom import expatbuilder, minidom
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

MOST_BYTES = 4 << 20
_MOST_DEPTH = 100
RECIPE_START = b'<rdf:Description rdf:about="" xmlns:stylize="urn:stylize:1#"><stylize:recipe>'
RECIPE_END = b"</stylize:recipe></rdf:Description>"
RECIPE = re.compile(re.escape(RECIPE_START) + rb"([^<]*)" + re.escape(RECIPE_END))  # see ``stylize.painting.recipe``
PACKET_START = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
).encode()
PACKET_END = b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'

RDF, IPTC_EXT = "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
# https://cv.iptc.org/newscodes/digitalsourcetype: existing media that a trained network has changed
PAINTED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
_PREFIXES = {  # of packets that do not declare them
    "rdf": RDF,
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpExt": IPTC_EXT,
}
TIFF, EXIF, XMP = (_PREFIXES[prefix] for prefix in ("tiff", "exif", "xmp"))
GAIN_MAP = "HDR gain map"
CLIP = "video clip"
DEPTH = "depth map"
EXTENDED = "extended XMP"
CREDENTIALS = "content credentials (C2PA)"
_CAMERA = "http://ns.google.com/photos/1.0/camera/"
# Namespaces that speak of what was stored beside the picture, in the same file.
_BESIDE = {
    "http://ns.adobe.com/hdr-gain-map/1.0/": GAIN_MAP,
    "http://ns.apple.com/HDRGainMap/1.0/": GAIN_MAP,
    "http://ns.apple.com/pixeldatainfo/1.0/": GAIN_MAP,
    "http://ns.google.com/photos/1.0/depthmap/": DEPTH,
    "http://ns.google.com/photos/dd/1.0/device/": DEPTH,
    "http://ns.google.com/photos/1.0/focus/": DEPTH,
    "http://ns.google.com/photos/1.0/image/": "second picture",
    "http://ns.google.com/photos/1.0/audio/": "sound",
}
_CONTAINERS = ("http://ns.google.com/photos/1.0/container/", "http://ns.google.com/photos/dd/1.0/container/")
_SEMANTICS = {"GainMap": GAIN_MAP, "MotionPhoto": CLIP, "Depth": DEPTH, "DepthMap": DEPTH}
_PLACE = re.compile(
    r"(?i:.*(?:gps|latitude|longitude|altitude|location|country|geotag|geohash|geocoord|worldregion).*)|"
    r"City|State|ProvinceState|Province"
)

Name = tuple[str, str]  # namespace and local name


class XmpError(ValueError):
    """A packet that cannot be read, or will not be."""


class Property(NamedTuple):
    """An element, or an attribute of one."""

    owner: minidom.Element
    attribute: str | None
    name: Name

    @property
    def value(self) -> str:
        """Its text."""
        if self.attribute is not None:
            return self.owner.getAttribute(self.attribute)
        return "".join(n.data for n in self.owner.childNodes if isinstance(n, minidom.Text))

    def set(self, value: str) -> bool:
        """Give it another text; whether that is one."""
        if self.value == value:
            return False
        if self.attribute is not None:
            self.owner.setAttribute(self.attribute, value)
        else:
            for name in ("rdf:resource", "rdf:parseType"):
                if self.owner.hasAttribute(name):
                    self.owner.removeAttribute(name)
            for child in list(self.owner.childNodes):
                self.owner.removeChild(child)
            self.owner.appendChild(_text(value))
        return True

    def remove(self) -> None:
        """Take it out."""
        if self.attribute is not None:
            self.owner.removeAttribute(self.attribute)
        elif self.owner.parentNode is not None:
            self.owner.parentNode.removeChild(self.owner)


def truthful(packet: bytes, size: tuple[int, int], lost: set[str]) -> bytes:
    """A packet that says of a picture what is true once it lies upright and alone in its file.

    Args:
        size: width and height of the picture.
        lost: where the names of things go that lay beside the picture, and that the packet told of.

    Raises:
        XmpError: it cannot be read.
    """
    truth = {(TIFF, "Orientation"): "1"}
    for across, down in (
        ((TIFF, "ImageWidth"), (TIFF, "ImageLength")),
        ((EXIF, "PixelXDimension"), (EXIF, "PixelYDimension")),
    ):
        truth |= {across: str(size[0]), down: str(size[1])}

    def untrue(property: Property) -> bool:
        space, name = property.name
        if space in _BESIDE:
            lost.add(_BESIDE[space])
        elif space == _CAMERA and name.startswith(("MotionPhoto", "MicroVideo")):
            lost.add(CLIP)
        elif space in _CONTAINERS:
            lost.update(_semantics(property))
        elif name == "HasExtendedXMP":
            lost.add(EXTENDED)
        elif name == "provenance" and "dc/terms" in space:
            lost.add(CREDENTIALS)
        else:
            return space == XMP and name == "Thumbnails"
        return True

    return _changed(packet, untrue, truth)


def without_places(packet: bytes) -> bytes:
    """A packet without the properties that tell a place, in whatever namespace. Raises XmpError."""
    return _changed(packet, lambda property: tells_a_place(property.name[1]), {})


def tells_a_place(name: str) -> bool:
    """Whether a property or keyword of that name tells a place."""
    return _PLACE.fullmatch(name.rpartition(":")[2]) is not None


def in_colours(packet: bytes, color_space: int) -> bytes:
    """A packet that tells the colours of the written file. Raises XmpError."""
    return _changed(packet, lambda property: False, {(EXIF, "ColorSpace"): str(color_space)})


def as_painted(packet: bytes | None) -> bytes:
    """A packet that says of its picture, in IPTC's words, that a trained network painted it.

    One that cannot be read, or has no place for it, stays as it is.
    """
    try:
        document = _parsed(PACKET_START + PACKET_END if packet is None else packet)
        found = [p for p in _properties(document) if p.name == (IPTC_EXT, "DigitalSourceType")]
        for property in found:
            property.set(PAINTED)
        if not found:
            roots = [p.owner for p in _properties(document) if p.attribute is None and p.name == (RDF, "RDF")]
            if not roots:
                return packet or b""
            said = document.createElement("rdf:Description")
            said.setAttribute("rdf:about", "")
            said.setAttribute("xmlns:rdf", RDF)
            said.setAttribute("xmlns:Iptc4xmpExt", IPTC_EXT)
            said.setAttribute("Iptc4xmpExt:DigitalSourceType", PAINTED)
            roots[0].appendChild(said)
    except XmpError:
        return packet or b""
    return _to_bytes(document)


def _semantics(property: Property) -> Iterator[str]:
    """What the items of a container are, other than the picture itself."""
    for inner in _properties(property.owner):
        if inner.name[1] == "Semantic" and inner.value in _SEMANTICS:
            yield _SEMANTICS[inner.value]


def _changed(packet: bytes, untrue: Callable[[Property], bool], truth: Mapping[Name, str]) -> bytes:
    document = _parsed(packet)
    changed = False
    for property in list(_properties(document)):
        if untrue(property):
            property.remove()
            changed = True
        elif property.name in truth:
            changed |= property.set(truth[property.name])
    return _to_bytes(document) if changed else packet


def _properties(top: minidom.Document | minidom.Element) -> Iterator[Property]:
    """All elements and attributes. Raises XmpError for what lies too deep."""
    stack: list[tuple[minidom.Node, dict[str, str], int]] = [(top, _PREFIXES, 0)]
    while stack:
        node, spaces, depth = stack.pop()
        if depth > _MOST_DEPTH:
            raise XmpError("too deep")
        if isinstance(node, minidom.Element):
            attributes = dict(node.attributes.items()) if node.attributes else {}
            if declared := {k[6:]: v for k, v in attributes.items() if k.startswith("xmlns:")}:
                spaces = spaces | declared
            yield Property(node, None, _resolved(node.tagName, spaces))
            for attribute in attributes:
                if not attribute.startswith("xmlns"):
                    yield Property(node, attribute, _resolved(attribute, spaces))
        stack += [(child, spaces, depth + 1) for child in reversed(node.childNodes)]


def _resolved(qualified: str, spaces: Mapping[str, str]) -> Name:
    prefix, _, local = qualified.rpartition(":")
    return spaces.get(prefix, prefix), local


def _parsed(packet: bytes) -> minidom.Document:
    if len(packet) > MOST_BYTES:
        raise XmpError("too long")
    marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
    marks |= {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}
    encoding = next((name for mark, name in marks.items() if packet.startswith(mark)), "utf-8")
    try:
        text = packet.decode(encoding).strip("\0 \t\r\n")
        if "<!DOCTYPE" in text:
            raise XmpError("a document type")
        # the declaration, if any, names the encoding that it had
        text = re.sub(r"^<\?xml\s[^>]*\?>", "", text)
        return expatbuilder.parseString(text, namespaces=False)
    except (ExpatError, UnicodeError, ValueError) as error:
        raise XmpError(str(error)) from error


def _to_bytes(document: minidom.Document) -> bytes:
    return "".join(_written(document)).encode("utf-8", "replace")


def _written(node: minidom.Node) -> Iterator[str]:
    if isinstance(node, minidom.Text):  # CDATA, too
        yield escape(node.data, {"\r": "&#13;"})
    elif isinstance(node, minidom.Comment):
        yield f"<!--{node.data}-->"
    elif isinstance(node, minidom.ProcessingInstruction):
        yield f"<?{node.target} {node.data}?>"
    elif isinstance(node, minidom.Element):
        yield f"<{node.tagName}"
        breaks = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
        yield from (f' {name}="{escape(value, breaks)}"' for name, value in node.attributes.items())
        yield ">" if node.childNodes else "/>"
    for child in node.childNodes:
        yield from _written(child)
    if isinstance(node, minidom.Element) and node.childNodes:
        yield f"</{node.tagName}>"


def _text(value: str) -> minidom.Text:
    text = minidom.Text()
    text.data = value
    return text
