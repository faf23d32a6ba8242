package polystore.fiji.imagej;

import ij.ImagePlus;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import polystore.fiji.transport.Item;
import polystore.fiji.transport.Pool;
import polystore.fiji.transport.Refused;
import polystore.fiji.transport.Wire;

/**
 * Runs the vectors of docs/protocol. It reads a list of them as JSON, and prints the list of
 * outcomes of each. The tests compare the outcomes with the vectors.
 */
final class Vectors {
    private Vectors() {}

    public static void main(String[] arguments) throws IOException, Refused {
        List<Object> outcomes = new ArrayList<>();
        for (Object vector : list(Wire.read(input()))) outcomes.add(new Run().all(list(vector)));
        System.out.write(Wire.write(outcomes));
        System.out.flush();
    }

    private static byte[] input() throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        byte[] part = new byte[1 << 16];
        for (int count; (count = System.in.read(part)) > 0; ) bytes.write(part, 0, count);
        return bytes.toByteArray();
    }

    private static List<?> list(Object value) {
        return (List<?>) value;
    }

    /** One vector: a planner, the image key of each picture number, and images without windows. */
    private static final class Run {
        private final Planner planner = new Planner();
        private final Map<Object, String> pictures = new HashMap<>();
        private final Pool pool = new Pool();
        private final Screen screen = new Screen(planner, pool, false);

        List<Object> all(List<?> steps) {
            List<Object> outcomes = new ArrayList<>();
            for (Object step : steps) outcomes.add(run((Map<?, ?>) step));
            return outcomes;
        }

        private Object run(Map<?, ?> step) {
            if (step.containsKey("pixels")) return show(step);
            if (step.containsKey("user")) return set((Map<?, ?>) step.get("user"));
            if (step.containsKey("message")) return plan(step);
            if (step.containsKey("find")) {
                List<?> asked = list(step.get("find"));
                Plan plan = planner.find(text(asked, 0), text(asked, 1), text(asked, 2));
                return plan == null ? null : describe(plan);
            }
            if (step.containsKey("sorted")) return sorted(list(step.get("sorted")));
            if (step.containsKey("forget")) planner.forget(pictures.get(step.get("forget")));
            else if (step.containsKey("clear")) planner.clear();
            else throw new IllegalArgumentException("no step: " + step);
            return null;
        }

        private Object plan(Map<?, ?> step) {
            try {
                Plan plan = planner.plan(Wire.item(step.get("message")));
                pictures.putIfAbsent(step.get("picture"), plan.key);
                return describe(plan);
            } catch (Refused refused) {
                return Collections.singletonMap("refused", refused.getMessage());
            }
        }

        private Object show(Map<?, ?> step) {
            try {
                Item item = Wire.item(step.get("message"));
                byte[] payload = Base64.getDecoder().decode((String) step.get("pixels"));
                Plan plan = planner.plan(item);
                Shown shown = screen.imageFor(plan, item);
                shown.put(plan, item, Wire.planes(item, payload, pool));
                screen.refresh(shown);
            } catch (Refused refused) {
                return Collections.singletonMap("refused", refused.getMessage());
            }
            return looks();
        }

        /** Set the display range of a channel, as the user of ImageJ does. */
        private Object set(Map<?, ?> given) {
            int left = ((Number) given.get("channel")).intValue();
            List<?> limits = list(given.get("limits"));
            for (Shown shown : screen.images()) {
                ImagePlus image = shown.image();
                if (left >= 0 && left < image.getNChannels()) {
                    image.setC(left + 1);
                    image.setDisplayRange(number(limits, 0), number(limits, 1));
                }
                left -= image.getNChannels();
            }
            return looks();
        }

        /** Return the look of each channel of each image. */
        private List<Object> looks() {
            List<Object> looks = new ArrayList<>();
            for (Shown shown : screen.images()) {
                List<?> channels = list(shown.describe().get("channels"));
                if (channels.isEmpty()) looks.add(look(shown, Collections.emptyMap())); // RGB
                for (Object channel : channels) looks.add(look(shown, (Map<?, ?>) channel));
            }
            return looks;
        }

        private static Map<String, Object> look(Shown shown, Map<?, ?> channel) {
            Map<String, Object> look = new LinkedHashMap<>();
            look.put("name", shown.image().getTitle());
            look.put("color", channel.get("color"));
            look.put("limits", channel.get("window"));
            return look;
        }

        private static double number(List<?> numbers, int at) {
            return ((Number) numbers.get(at)).doubleValue();
        }

        private static Object describe(Plan plan) {
            Map<String, Object> outcome = new LinkedHashMap<>();
            outcome.put("key", plan.key);
            outcome.put("title", plan.title);
            outcome.put("channel", plan.channel);
            boolean isRois = plan.places.length == 0; // ROIs have no place on sliders
            outcome.put("at", isRois ? new String[0][] : plan.at);
            outcome.put("axes", plan.axes);
            outcome.put("restarts", plan.restarts);
            List<Object> planes = new ArrayList<>();
            for (Place place : plan.places)
                planes.add(new String[][] {place.c.parts, place.z.parts, place.t.parts});
            outcome.put("planes", planes);
            return outcome;
        }

        private static List<String> sorted(List<?> texts) {
            List<String> found = new ArrayList<>();
            for (Object text : texts) found.add((String) text);
            Collections.reverse(found);
            found.sort(Place::compareNaturally);
            return found;
        }

        private static String text(List<?> texts, int at) {
            return (String) texts.get(at);
        }
    }
}
