package polystore.fiji.transport;

import java.util.Arrays;
import java.util.Map;

/** The header of a producer's message. */
final class Header {
    final String type;
    final long number;
    /** For "image" and "rois", or null. */
    Item item;
    /** For "piece". */
    long of;
    long start;
    long nbytes;
    int slot;
    /** For "hello". */
    int[] protocol;
    String token;
    long pid;
    String host;
    /** For "ring". */
    String path;
    long size;
    String nonce;
    /** For "query". */
    String name;
    Map<String, Object> arguments;

    Header(Object json) throws Refused {
        Fields fields = new Fields(json);
        type = fields.text("type");
        number = fields.integer("number", 0);
        switch (type) {
            case "image":
            case "rois":
                item = new Item(fields, type.equals("image"));
                break;
            case "piece":
                of = fields.integer("of");
                start = fields.integer("start");
                nbytes = fields.integer("nbytes");
                slot = fields.slot();
                break;
            case "hello":
                protocol = fields.integers("protocol");
                if (protocol.length != 2) {
                    throw new Refused("the message is damaged: protocol is not a pair: "
                        + Arrays.toString(protocol));
                }
                token = fields.text("token");
                pid = fields.integer("pid");
                host = fields.text("host");
                break;
            case "ring":
                path = fields.text("path");
                size = fields.integer("size");
                nonce = fields.text("nonce");
                break;
            case "query":
                name = fields.text("name");
                arguments = fields.object("arguments");
                break;
            case "bye":
                break;
            default:
                throw new Refused("the message is damaged: its type '" + type + "' is unknown");
        }
    }

    /** Whether the payload is in a slot of the ring. */
    boolean hasSlot() {
        return item != null ? item.slot >= 0 : type.equals("piece") && slot >= 0;
    }
}
