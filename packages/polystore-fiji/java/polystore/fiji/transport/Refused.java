package polystore.fiji.transport;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;

/** A refusal, with the reason that its sender is told. */
public final class Refused extends Exception {
    private static final long serialVersionUID = 1L;
    private static final int LISTED = 20;

    public Refused(String reason) {
        super(reason, null, false, false);
    }

    /**
     * Return the refusal of an unknown name, with the known ones: "image 'cell' is not
     * open: expected one of 'cells', 'nuclei'; did you mean 'cells'?".
     */
    public static Refused unknown(
            String what, String name, String state, Collection<String> known) {
        String reason = what + " '" + name + "' is not " + state + ": ";
        if (known.isEmpty()) {
            return new Refused(reason + "no " + what + " is " + state);
        }
        String close = closest(name, known);
        String suggestion = close == null ? "" : "; did you mean '" + close + "'?";
        return new Refused(reason + "expected " + listed(known) + suggestion);
    }

    private static String listed(Collection<String> known) {
        List<String> names = new ArrayList<>();
        for (String name : known) {
            if (names.size() < LISTED) {
                names.add("'" + name + "'" + (name.isEmpty() ? " (without a name)" : ""));
            }
        }
        int more = known.size() - names.size();
        return (known.size() > 1 ? "one of " : "") + String.join(", ", names)
            + (more > 0 ? " and " + more + " more" : "");
    }

    /** Return the known name that is most similar, or null if none is. */
    private static String closest(String name, Collection<String> known) {
        String close = null;
        int least = Math.max(1, name.length() / 3) + 1;
        for (String other : known) {
            int distance = distance(fold(name), fold(other), least);
            if (distance < least) {
                least = distance;
                close = other;
            }
        }
        return close;
    }

    private static String fold(String name) {
        return name.toLowerCase(Locale.ROOT);
    }

    /** Return how many letters must be changed, added or removed, at most {@code limit}. */
    private static int distance(String one, String other, int limit) {
        if (Math.abs(one.length() - other.length()) >= limit) return limit;
        int[] row = new int[other.length() + 1];
        for (int at = 0; at < row.length; at++) row[at] = at;
        for (int at = 1; at <= one.length(); at++) {
            int corner = row[0];
            row[0] = at;
            for (int to = 1; to < row.length; to++) {
                int changed = corner + (one.charAt(at - 1) == other.charAt(to - 1) ? 0 : 1);
                corner = row[to];
                row[to] = Math.min(changed, 1 + Math.min(row[to], row[to - 1]));
            }
        }
        return row[other.length()];
    }
}
