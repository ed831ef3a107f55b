"""Runs services: containers in the pod of one run, beside a task, or by hand under `envtool up`.

fresh_client       What tasks have to make a service fresh: a function, a plugin of pytest, a command
fresh_server       Takes `fresh NAME` from a task's container
group              ServiceGroup: starts services, stops them, scales and replaces them, and says which one failed
group_values       What a group runs with, and what it says of its replicas
host_ports         Publishes ports on this machine, and names the process that has a port that is taken
pod_place          The place in the pod of a container that is no service
prepared_state     Makes the layer with what the commands of `prepare:` leave, and runs services on it
ready              Waits until a replica is ready
ready_probes       The probes of `ready:`: tcp, http, command, log and file
replica            One container of a service: starts it, waits for it, starts it again, and stops it
replica_log        What a replica prints: a file that stays small, and the last lines
service_container  The request of a service from its stack, and the container of a request, as plain values
service_errors     The errors of services, with their place in the spec and the last lines of their logs
service_request    ServiceRequest: one service as a plain value
state_plan         The key of prepared state, from all that decides it
up/                Holds the services of a project for a user, who starts and stops them by hand

A task uses them so:

    with ServiceGroup(setting, spare=2) as group:       # the pod starts meanwhile
        group.start([LocalService(request=…, stack=…)])   # returns when all are ready
        with group.member("envtool") as place:          # the network of the task's container
            runner.run(…, joins=place.namespaces, cancel=group.cancel)
"""
