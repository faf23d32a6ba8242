package polystore.fiji.transport;

import java.util.Collections;
import java.util.List;
import java.util.Map;

/** The fields of a received JSON object. Each getter checks the type. */
final class Fields {
    private final Map<?, ?> map;

    Fields(Object value) throws Refused {
        map = as(Map.class, value, "the message");
    }

    private static <T> T as(Class<T> type, Object value, String name) throws Refused {
        if (!type.isInstance(value)) {
            throw new Refused("the message is damaged: " + name + " is "
                + (value == null ? "missing" : "not a " + type.getSimpleName().toLowerCase()));
        }
        return type.cast(value);
    }

    String text(String name) throws Refused {
        return as(String.class, map.get(name), name);
    }

    String text(String name, String missing) throws Refused {
        return map.get(name) == null ? missing : text(name);
    }

    String textOrNull(String name) throws Refused {
        return text(name, null);
    }

    long integer(String name) throws Refused {
        return as(Long.class, map.get(name), name);
    }

    long integer(String name, long missing) throws Refused {
        return map.get(name) == null ? missing : integer(name);
    }

    /** Return an integer that can be an index of an array. */
    int small(String name, int missing) throws Refused {
        long value = integer(name, missing);
        if (value != (int) value) {
            throw new Refused("the message is damaged: " + name + " is too large: " + value);
        }
        return (int) value;
    }

    /** Return the slot, or -1. A number beyond every ring becomes the largest one. */
    int slot() throws Refused {
        long value = integer("slot", -1);
        if (value < 0 && map.get("slot") != null) {
            throw new Refused("the message is damaged: slot is negative: " + value);
        }
        return (int) Math.min(value, Integer.MAX_VALUE);
    }

    boolean flag(String name, boolean missing) throws Refused {
        return map.get(name) == null ? missing : as(Boolean.class, map.get(name), name);
    }

    List<?> list(String name) throws Refused {
        return map.get(name) == null ? Collections.emptyList()
            : as(List.class, map.get(name), name);
    }

    @SuppressWarnings("unchecked") // the keys of JSON objects are strings
    Map<String, Object> object(String name) throws Refused {
        return map.get(name) == null ? Collections.<String, Object>emptyMap()
            : as(Map.class, map.get(name), name);
    }

    double[] numbers(String name) throws Refused {
        List<?> list = list(name);
        double[] found = new double[list.size()];
        for (int i = 0; i < found.length; i++) {
            found[i] = as(Number.class, list.get(i), name).doubleValue();
        }
        return found;
    }

    /** Return two numbers, or null. */
    double[] pair(String name) throws Refused {
        double[] found = map.get(name) == null ? null : numbers(name);
        if (found != null && found.length != 2) {
            throw new Refused("the message is damaged: " + name + " is not a pair");
        }
        return found;
    }

    int[] integers(String name) throws Refused {
        List<?> list = list(name);
        int[] found = new int[list.size()];
        for (int i = 0; i < found.length; i++) {
            long value = as(Long.class, list.get(i), name);
            if (value != (int) value) {
                throw new Refused("an axis has length " + value + ", but Java's limit is 2147483647");
            }
            found[i] = (int) value;
        }
        return found;
    }

    /** Return texts. Some may be null. */
    String[] texts(String name) throws Refused {
        return texts(list(name), name);
    }

    String[][] textPairs(String name) throws Refused {
        List<?> list = list(name);
        String[][] found = new String[list.size()][];
        for (int i = 0; i < found.length; i++) {
            found[i] = texts(as(List.class, list.get(i), name), name);
            if (found[i].length != 2 || found[i][0] == null || found[i][1] == null) {
                throw new Refused("the message is damaged: " + name + " is not a list of pairs");
            }
        }
        return found;
    }

    private static String[] texts(List<?> list, String name) throws Refused {
        String[] found = new String[list.size()];
        for (int i = 0; i < found.length; i++) {
            Object value = list.get(i);
            found[i] = value == null ? null : as(String.class, value, name);
        }
        return found;
    }
}
